"""Image-level pretraining runs without the pretraining: random weights in a complete run folder."""

from collections.abc import Sequence
from pathlib import Path

import torch

from densecf import runs
from densecf.data.prepared import PreparedDataset
from densecf.models.backbone import build_image_encoder, patch_of
from densecf.models.weights import WEIGHTS, image_facts, save_tensors


def image_level_run(
    folder: Path, name: str, data: PreparedDataset, rows: Sequence[int], *, encoder: str = "test_resnet", patch: int = 0
) -> Path:
    """``folder/runs/pretrain/<name>`` of a network that would have been pretrained on ``rows``."""
    torch.manual_seed(sum(map(ord, name)))
    network = build_image_encoder(encoder, data.size, patch_size=patch)
    config = {"data": str(data.path.resolve()), "method": name}
    out = runs.start_run(
        "pretrain",
        name,
        config,
        out=folder / "runs" / "pretrain" / name,
        provenance={"dataset": str(data.path.resolve()), "dataset_checksum": data.checksum},
    )
    save_tensors(network.body.state_dict(), out / WEIGHTS, image_facts(name, encoder, patch_of(network.body), data))
    data.records.iloc[list(rows)][["image", "patient_id"]].to_csv(out / "records.csv", index=False)
    runs.write_json_atomic(out / runs.PROVENANCE, {**runs.read_provenance(out), "finished": "today"})
    return out
