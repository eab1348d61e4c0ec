"""CheXpert v1.0: train.csv whose paths begin with the release's own folder, nested JPEG files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.data.published.files import save_jpeg, scene, write_table

FINDINGS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)


@dataclass(frozen=True)
class CheXpert:
    """Where the table is, and for each image that the papers keep its patient and whether it shows pneumonia."""

    table: Path
    patient: dict[str, str]
    pneumonia: dict[str, int]
    pixels: dict[str, np.ndarray] = field(default_factory=dict)


def build(folder: Path, patients: int = 12, seed: int = 0, images: bool = True) -> CheXpert:
    """Patients with one to three studies: PA and AP frontal views, lateral views, uncertain and blank labels."""
    rng = np.random.default_rng(seed)
    rows = []
    release = folder / "CheXpert-v1.0-small"
    facts = CheXpert(release / "train.csv", {}, {})
    for patient in range(1, patients + 1):
        for study in range(1, int(rng.integers(2, 5))):
            for view in range(1, int(rng.integers(2, 4))):
                frontal = view == 1
                kind = ("PA", "PA", "AP")[int(rng.integers(3))] if frontal else ""
                name = f"view{view}_{'frontal' if frontal else 'lateral'}.jpg"
                path = f"CheXpert-v1.0-small/train/patient{patient:05d}/study{study}/{name}"
                label = ("", "1.0", "0.0", "-1.0")[int(rng.integers(4))]
                rows.append(
                    {
                        "Path": path,
                        "Sex": "Female" if patient % 2 else "Male",
                        "Age": 30 + patient % 60,
                        "Frontal/Lateral": "Frontal" if frontal else "Lateral",
                        "AP/PA": kind,
                        **dict.fromkeys(FINDINGS, ""),
                        "Pleural Effusion": ("", "1.0", "0.0", "-1.0")[int(rng.integers(4))],
                        "Pneumonia": label,
                    }
                )
                if kind == "PA" and label != "-1.0":
                    facts.patient[path], facts.pneumonia[path] = f"{patient:05d}", int(label == "1.0")
                if images:
                    facts.pixels[path] = scene(len(rows))
                    save_jpeg(folder / path, facts.pixels[path])
    write_table(facts.table, rows)
    return facts
