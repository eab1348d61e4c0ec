"""PadChest: one wide table of quoted Python lists, 16-bit PNG in numbered folders, each also published as a zip."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.data.published.files import save_png16, scene, write_table

COLUMNS = (
    "",  # pandas wrote its index
    "ImageID",
    "ImageDir",
    "StudyDate_DICOM",
    "StudyID",
    "PatientID",
    "PatientBirth",
    "PatientSex_DICOM",
    "ViewPosition_DICOM",
    "Projection",
    "MethodProjection",
    "Pediatric",
    "Modality_DICOM",
    "Manufacturer_DICOM",
    "PhotometricInterpretation_DICOM",
    "PixelRepresentation_DICOM",
    "PixelAspectRatio_DICOM",
    "SpatialResolution_DICOM",
    "BitsStored_DICOM",
    "WindowCenter_DICOM",
    "WindowWidth_DICOM",
    "Rows_DICOM",
    "Columns_DICOM",
    "XRayTubeCurrent_DICOM",
    "Exposure_DICOM",
    "ExposureInuAs_DICOM",
    "ExposureTime",
    "RelativeXRayExposure_DICOM",
    "ReportID",
    "Report",
    "MethodLabel",
    "Labels",
    "Localizations",
    "LabelsLocalizationsBySentence",
    "labelCUIS",
    "LocalizationsCUIS",
)
TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
# labels, CUIs (numpy wrote them, without commas), effusion, pneumonia
KINDS = (
    ("['normal']", "[]", 0, 0),
    ("['pleural effusion', 'cardiomegaly']", "['C2073625' 'C0018800']", 1, 0),
    ("[' pneumonia', 'infiltrates']", "['C0032285' 'C0277877']", 0, 1),
    ("['atypical pneumonia']", "['C1412002']", 0, 0),
    ("['pneumonia', 'loculated pleural effusion']", "['C0032285' 'C0747639']", 0, 1),
    ("['exclude']", "[]", 0, 0),
    ("['suboptimal study', 'normal']", "['C2828075']", 0, 0),
)


@dataclass(frozen=True)
class PadChest:
    """Where the table is, and for each image that the papers keep its patient, scanner and labels."""

    table: Path
    patient: dict[str, str]
    scanner: dict[str, str]
    effusion: dict[str, int]
    pneumonia: dict[str, int]
    pixels: dict[str, np.ndarray] = field(default_factory=dict)


def build(folder: Path, patients: int = 16, seed: int = 0, images: bool = True, zipped: bool = False) -> PadChest:
    """Patients with one to three images in folders 0 and 1; each rule of exclusion is met by some of them.

    With ``zipped`` the images are in ``0.zip`` and ``1.zip`` instead, as downloaded.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    facts = PadChest(folder / TABLE, {}, {}, {}, {})
    for patient in range(patients):
        identity = f"{839860488694292331637988235681460987 + patient}"
        sex = "O" if patient % 11 == 10 else "MF"[patient % 2]
        philips = patient % 5 < 2
        for visit in range(int(rng.integers(1, 4))):
            name = f"{identity}_{visit}_{rng.integers(10**6):06d}.png"
            labels, cuis, effusion, pneumonia = KINDS[int(rng.integers(len(KINDS)))]
            projection = "L" if visit == 2 else "PA"
            pediatric = "PED" if patient % 13 == 12 else "No"
            inverted = patient % 4 == 3
            rows.append(
                {
                    "": len(rows),
                    "ImageID": name,
                    "ImageDir": len(rows) % 2,
                    "StudyDate_DICOM": f"201{visit}0{1 + patient % 9}15",
                    "StudyID": f"{identity}{visit}",
                    "PatientID": identity,
                    "PatientBirth": f"{1930 + patient % 50}.0",
                    "PatientSex_DICOM": sex,
                    "ViewPosition_DICOM": "POSTEROANTERIOR",
                    "Projection": projection,
                    "MethodProjection": "Manual review of DICOM fields",
                    "Pediatric": pediatric,
                    "Modality_DICOM": "DX" if philips else "CR",
                    "Manufacturer_DICOM": "PhilipsMedicalSystems" if philips else "ImagingDynamicsCompanyLtd",
                    "PhotometricInterpretation_DICOM": "MONOCHROME1" if inverted else "MONOCHROME2",
                    "BitsStored_DICOM": 12,
                    "Rows_DICOM": 48.0,
                    "Columns_DICOM": 40.0,
                    "ReportID": len(rows),
                    "Report": 'sin cambios , "igual" . ',
                    "MethodLabel": "Physician",
                    "Labels": labels,
                    "Localizations": "[]",
                    "LabelsLocalizationsBySentence": "[]",
                    "labelCUIS": cuis,
                    "LocalizationsCUIS": "[]",
                }
            )
            excluded = "exclude" in labels or "suboptimal" in labels
            if projection == "PA" and pediatric == "No" and sex != "O" and not excluded:
                facts.patient[name] = identity
                facts.scanner[name] = "Philips" if philips else "Imaging"
                facts.effusion[name], facts.pneumonia[name] = effusion, pneumonia
            if images:
                pixels = facts.pixels[name] = scene(len(rows))
                save_png16(folder / f"{rows[-1]['ImageDir']}/{name}", 4095 - pixels if inverted else pixels)
    write_table(facts.table, rows, COLUMNS)
    if images and zipped:
        for part in ("0", "1"):
            with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
                for file in sorted((folder / part).iterdir()):
                    archive.write(file, file.name)
                    file.unlink()
            (folder / part).rmdir()
    return facts
