"""RSNA Pneumonia Detection Challenge (stage 2): DICOM, boxes as rows, and the way back to NIH ChestX-ray14."""

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.data.published.files import save_dicom, scene, write_table

# NIH_HEADER, of Data_Entry_2017.csv: unquoted commas within two names, and one comma too many at the end of the header.
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


@dataclass(frozen=True)
class Rsna:
    """Where the tables are, and for each image (patientId) what is true."""

    table: Path
    nih_patient: dict[str, str]
    pneumonia: dict[str, int]
    view: dict[str, str]
    pixels: dict[str, np.ndarray] = field(default_factory=dict)


def build(folder: Path, patients: int = 12, seed: int = 0, images: bool = True, syntax: str = "raw") -> Rsna:
    """``patients`` NIH patients with one to three images each, a third of them AP; every second positive has two boxes.

    The mapping also holds images of the competition's test set, of which the labels say nothing.
    """
    rng = np.random.default_rng(seed)
    labels, classes, mapping, nih = [], [], [], [NIH_HEADER]
    facts = Rsna(folder / "stage_2_train_labels.csv", {}, {}, {})
    for patient in range(1, patients + 1):
        for visit in range(int(rng.integers(1, 4))):
            name = str(uuid.UUID(int=int(rng.integers(2**62)) + patient))
            index = f"{patient:08d}_{visit:03d}.png"
            view = "AP" if rng.random() < 1 / 3 else "PA"
            target = int(rng.random() < 0.4)
            in_test = visit == 2
            nih.append(
                f"{index},{'Pneumonia' if target else 'No Finding'},{visit},{patient},{20 + patient % 60:03d},"
                f"{'MF'[patient % 2]},{view},2500,2048,0.171,0.171,"
            )
            mapping.append(
                {
                    "subset_img_id": name,
                    "img_id": index,
                    "subset_group": "test" if in_test else "train",
                    "orig_labels": ["Pneumonia"] if target else ["No Finding"],
                    "StudyInstanceUID": f"1.2.276.{patient}.{visit}",
                    "SeriesInstanceUID": f"1.2.276.{patient}.{visit}.1",
                    "SOPInstanceUID": f"1.2.276.{patient}.{visit}.1.1",
                }
            )
            if in_test:
                continue
            for box in range(1 + len(labels) % 2 if target else 1):
                place = {"x": 100.0 + box, "y": 50.0, "width": 90.0, "height": 80.0} if target else {}
                labels.append({"patientId": name, **place, "Target": target})
                classes.append({"patientId": name, "class": "Lung Opacity" if target else "Normal"})
            facts.nih_patient[name], facts.pneumonia[name], facts.view[name] = str(patient), target, view
            if images:
                facts.pixels[name] = scene(len(labels), white=250)
                save_dicom(
                    folder / f"stage_2_train_images/{name}.dcm",
                    facts.pixels[name],
                    bits=8,
                    syntax=syntax,
                    PatientID=name,
                    PatientSex="MF"[patient % 2],
                    ViewPosition=view,
                    PixelSpacing=[0.171, 0.171],
                    Modality="CR",
                )
    write_table(facts.table, labels, ["patientId", "x", "y", "width", "height", "Target"])
    write_table(folder / "stage_2_detailed_class_info.csv", classes)
    order = rng.permutation(len(mapping))  # the published split follows the order of this file
    shuffled = [mapping[i] for i in order]
    (folder / MAPPING).write_text(json.dumps(shuffled))
    (folder / "Data_Entry_2017.csv").write_text("\n".join(nih) + "\n")
    return facts
