"""EMBED open data: a table of images, a table of findings, DICOM under cohort_N/patient/exam/series/."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.data.published.files import save_dicom, scene, write_table

SERVER = "/mnt/NAS2/mammo/anon_dicom"  # what the paths of the published tables begin with
MODELS = (
    ("HOLOGIC, Inc.", "Selenia Dimensions"),
    ("GE MEDICAL SYSTEMS", "Senographe Pristina"),
    ("GE MEDICAL SYSTEMS", "Senograph 2000D ADS_17.4.5"),
    ("GE MEDICAL SYSTEMS", "Senograph 2000D ADS_17.5"),
    ("HOLOGIC, Inc.", "Lorad Selenia"),
    ("FUJIFILM Corporation", "Clearview CSm"),
    ("GE MEDICAL SYSTEMS", "Senographe Essential VERSION ADS_53.40"),
    ("GE MEDICAL SYSTEMS", "Senographe Essential VERSION ADS_54.10"),
)
METADATA = (
    "",  # pandas wrote its index
    "empi_anon",
    "acc_anon",
    "study_date_anon",
    "StudyDescription",
    "SeriesDescription",
    "FinalImageType",
    "ImageLateralityFinal",
    "ViewPosition",
    "spot_mag",
    "anon_dicom_path",
    "png_path",
    "png_filename",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientSex",
    "num_roi",
    "ROI_coords",
    "match_level",
)
CLINICAL = (
    "",
    "empi_anon",
    "acc_anon",
    "study_date_anon",
    "desc",
    "side",
    "asses",
    "tissueden",
    "age_at_study",
    "numfind",
)


@dataclass(frozen=True)
class Embed:
    """Where the table of images is, and for each file (by its UID) whether and how the papers use it."""

    table: Path
    patient: dict[str, str]
    scanner: dict[str, str]
    density: dict[str, str]  # only files that the papers' rules keep
    pixels: dict[str, np.ndarray] = field(default_factory=dict)


def build(folder: Path, patients: int = 16, seed: int = 0, images: bool = True) -> Embed:
    """Patients with one or two exams of two to five images; each rule of exclusion is met by some of them.

    A third of all patients were also seen on the held-out Senographe Essential.
    """
    rng = np.random.default_rng(seed)
    metadata: list[dict[str, object]] = []
    clinical: list[dict[str, object]] = []
    facts = Embed(folder / "tables/EMBED_OpenData_metadata_reduced.csv", {}, {}, {})
    for patient in range(patients):
        person = 10_000_003 + int(rng.integers(1000)) + 1000 * ((7 * patient) % patients)
        sex = "M" if patient % 13 == 12 else "F"
        for exam in range(1 + patient % 2):
            accession = f"{patient}{exam}{rng.integers(10**12):013d}"
            held_out = exam == 1 or patient % 7 == 6
            maker, model = MODELS[6 + patient % 2] if held_out else MODELS[patient % 6]
            density = 5 if sex == "M" else int(rng.integers(1, 5))
            for finding in range(1 + int(rng.random() < 0.3)):
                clinical.append(
                    {
                        "": len(clinical),
                        "empi_anon": person,
                        "acc_anon": accession,
                        "study_date_anon": f"201{exam}-03-0{1 + patient % 9}",
                        "desc": "MG Screening Bilat w/Tomo/CAD Stnd Protocol",
                        "side": "LRB"[finding],
                        "asses": "N",
                        "tissueden": "" if patient % 11 == 10 else f"{density}.0",
                        "age_at_study": 45.5 + patient % 30,
                        "numfind": finding + 1,
                    }
                )
            for view in range(int(rng.integers(2, 6))):
                uid = f"1.2.826.0.1.{patient}.{exam}.{view}"
                position = ("CC", "MLO", "ML", "", "")[view]
                kind = "cview" if view == 1 and patient % 4 == 0 else "2D"
                spot = view == 0 and patient % 9 == 8
                series = ("L CC", "R MLO", "L ML", "LMLO" if patient % 2 else "RXCCL", "SPECIMEN")[view]
                path = f"cohort_{1 + patient % 2}/{person}/1.2.847.{patient}.{exam}/1.2.848.{view}/{uid}.dcm"
                metadata.append(
                    {
                        "": len(metadata),
                        "empi_anon": person,
                        "acc_anon": accession,
                        "study_date_anon": f"201{exam}-03-01",
                        "StudyDescription": 'MG Diagnostic "Bilateral", w/CAD',
                        "SeriesDescription": series,
                        "FinalImageType": kind,
                        "ImageLateralityFinal": "LR"[view % 2],
                        "ViewPosition": position,
                        "spot_mag": "1.0" if spot else "",
                        "anon_dicom_path": f"{SERVER}/{path}",
                        "png_filename": f"{uid}.png",
                        "Manufacturer": maker,
                        "ManufacturerModelName": model,
                        "PatientSex": sex,
                        "num_roi": 0,
                        "ROI_coords": "()",
                        "match_level": "[]",
                    }
                )
                known_view = position in ("CC", "MLO") or series == "LMLO"
                if kind == "2D" and not spot and sex == "F" and patient % 11 != 10 and known_view:
                    facts.patient[uid] = str(person)
                    facts.scanner[uid] = " ".join(model.split()[:2]).replace("Senograph ", "Senographe ")
                    facts.density[uid] = " ABCD"[density]
                if images:
                    facts.pixels[uid] = scene(len(metadata))
                    save_dicom(folder / "images" / path, facts.pixels[uid], Modality="MG")
    write_table(facts.table, metadata, METADATA)
    write_table(folder / "tables/EMBED_OpenData_clinical_reduced.csv", clinical, CLINICAL)
    return facts
