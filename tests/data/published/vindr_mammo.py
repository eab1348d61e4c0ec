"""VinDr-Mammo 1.0.0: breast-level annotations, one row of DICOM tags an image, images/STUDY/IMAGE.dicom."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.data.published.files import save_dicom, scene, write_table

VIEWS = (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))
MODELS = (("SIEMENS", "Mammomat Inspiration"), ("Planmed", "Planmed Nuance"), ("IMS s.r.l.", "GIOTTO IMAGE 3DL"))


@dataclass(frozen=True)
class VinDr:
    """Where the annotations are, and for each image its study, its series and its density."""

    table: Path
    study: dict[str, str]
    series: dict[str, str]
    density: dict[str, str]
    pixels: dict[str, np.ndarray] = field(default_factory=dict)


def build(folder: Path, studies: int = 10, seed: int = 0, images: bool = True) -> VinDr:
    """Four views a study; every fifth study is divided into two series, which the published split may part.

    Images alternate between MONOCHROME1 and MONOCHROME2, 12 and 14 bits, and two compressions.
    """
    rng = np.random.default_rng(seed)
    annotations, metadata = [], []
    facts = VinDr(folder / "breast-level_annotations.csv", {}, {}, {})

    def name(*parts: object) -> str:
        return hashlib.md5(repr((seed, *parts)).encode()).hexdigest()

    for number in range(studies):
        study = name("study", number)
        maker, model = MODELS[number % 3]
        for k, (side, view) in enumerate(VIEWS):
            image = name("image", number, k)
            series = name("series", number, k // 3 if number % 5 == 4 else 0)
            density = "ABCD"[int(rng.integers(4))]
            inverted = number % 2 == 1
            annotations.append(
                {
                    "study_id": study,
                    "series_id": series,
                    "image_id": image,
                    "laterality": side,
                    "view_position": view,
                    "height": 48,
                    "width": 40,
                    "breast_birads": f"BI-RADS {1 + number % 5}",
                    "breast_density": f"DENSITY {density}",
                    "split": "test" if number % 5 == 0 else "training",
                }
            )
            metadata.append(
                {
                    "SOP Instance UID": image,
                    "Series Instance UID": series,
                    "Patient's Age": f"{40 + number % 40:03d}Y" if number % 4 else "",
                    "View Position": view,
                    "Image Laterality": side,
                    "Manufacturer": maker,
                    "Manufacturer's Model Name": model,
                    "Photometric Interpretation": "MONOCHROME1" if inverted else "MONOCHROME2",
                    "Imager Pixel Spacing": "[0.085, 0.085]",
                }
            )
            facts.study[image], facts.series[image], facts.density[image] = study, series, density
            if images:
                facts.pixels[image] = scene(len(annotations))
                save_dicom(
                    folder / f"images/{study}/{image}.dicom",
                    facts.pixels[image],
                    bits=14 if number % 3 == 2 else 12,
                    inverted=inverted,
                    slope=2.0 if number % 4 == 3 else 1.0,
                    intercept=-100.0 if number % 4 == 3 else 0.0,
                    syntax=("raw", "rle", "jpeg2000", "raw")[number % 4],
                    ImagerPixelSpacing=[0.085, 0.085],
                    Modality="MG",
                )
    write_table(facts.table, annotations)
    order = rng.permutation(len(metadata))
    write_table(folder / "metadata.csv", [metadata[i] for i in order], list(metadata[0]))
    return facts
