"""Run folders as trainings leave them, with small random networks whose batch norms have seen something."""

from pathlib import Path

import pytest
import torch

from densecf import runs
from densecf.files import sha256_of_file, write_json_atomic, write_text_atomic
from densecf.models.backbone import build_image_encoder
from densecf.models.heads import projection_head
from densecf.models.unet import build_unet, normalise
from densecf.models.weights import BACKBONE, save_head, save_tensors, save_weights

SIZE, CHANNELS = 64, (16, 16, 8, 8, 8)
CLASSES = ["background", "left_lung", "right_lung"]
FACTS = {"encoder": "resnet18", "classes": 3, "class_names": CLASSES, "size": SIZE, "profile": "robust"}
UNET = {**FACTS, "decoder_channels": list(CHANNELS)}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Path:
    """A folder with a pixel-level run (s-mvd-cl), image-level ones (simclr, dino) and a fine-tuning run (s-mvd-cl)."""
    folder = tmp_path_factory.mktemp("export")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        pixels = start(folder, "pretrain", "s-mvd-cl", epochs=4, data="/somewhere/secret/lungs")
        save_weights(
            seen(build_unet("resnet18", CHANNELS)), pixels / "weights.safetensors", {"method": "s-mvd-cl", **UNET}
        )
        save_head(projection_head(8, 16, 4), pixels / "head.safetensors", {"hidden": 16, "dim": 4})
        write_text_atomic(pixels / "metrics.jsonl", '{"step": 0, "loss": 2.0}\n{"step": 9, "purity": 0.8125}\n')
        for name, encoder, patch in (("simclr", "resnet18", 0), ("dino", "vit_tiny_patch16_224", 8)):
            images = start(folder, "pretrain", name)
            body = seen(build_image_encoder(encoder, SIZE, patch_size=patch)).body
            facts = {**FACTS, "kind": BACKBONE, "method": name, "encoder": encoder, "patch_size": patch}
            save_tensors(body.state_dict(), images / "weights.safetensors", facts)
        other = start(folder, "pretrain", "vader")
        save_weights(
            build_unet("mobilenet_v2", CHANNELS),
            other / "weights.safetensors",
            {**UNET, "method": "vader", "encoder": "mobilenet_v2"},
        )
        masks = start(
            folder,
            "finetune",
            "s-mvd-cl",
            pretrained=str(pixels / "weights.safetensors"),
            pretrained_sha256=sha256_of_file(pixels / "weights.safetensors"),
        )
        (masks / "folds" / "1").mkdir(parents=True)
        save_weights(
            seen(build_unet("resnet18", CHANNELS)),
            masks / "folds/1/weights.safetensors",
            {"method": "finetune", **UNET},
        )
        write_json_atomic(masks / "summary.json", {"dsc": {"mean": 91.256, "std": 1.234}, "n_missed": {"total": 0}})
    return folder


def start(folder: Path, command: str, name: str, **facts: object) -> Path:
    """A finished run folder without a product."""
    config = {"method": name, "epochs": facts.get("epochs", 1), "data": facts.get("data", "phantom")}
    provenance = {"dataset": str(config["data"]), "dataset_checksum": "c0ffee" * 8, "finished": "today", **facts}
    return runs.start_run(command, name, config, out=folder / "runs" / command / name, provenance=provenance)


def seen(network: torch.nn.Module) -> torch.nn.Module:
    """After a few images in train mode: running means and variances that are not 0 and 1. Returned in eval mode."""
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(normalise(torch.rand(4, 1, SIZE, SIZE)))
    return network.eval()
