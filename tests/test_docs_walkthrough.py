"""The long examples of docs/: the walk through one's own images, a method and a generator of one's own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from densecf import cli
from densecf.data import PreparedDataset
from tests.data.making import lungs, radiograph, save
from tests.test_docs import blocks, commands, example

TINY_NETWORK = ["--model.encoder", "resnet18", "--model.decoder-channels", *["32", "16", "16", "16", "16"]]
QUICK = ["--epochs", "1", "--hardware.workers", "0", "--hardware.precision", "32", "--quiet"]
TINY_PRETRAINING = [*TINY_NETWORK, *QUICK, "--batch-size", "4", "--points", "32"]


@pytest.fixture
def table(tmp_path) -> Path:
    """The table that the page speaks of: 24 images of 12 patients from two scanners, in a folder of their own."""
    rows = []
    for number in range(24):
        image, left, right = (f"{name}{number + 1:04d}{side}.png" for name, side in
                              (("images/", ""), ("masks/", "_left"), ("masks/", "_right")))  # fmt: skip
        pixels = radiograph(number)
        save(tmp_path / image, pixels if number % 4 < 2 else 255 - pixels // 2)
        for file, mask in zip((left, right), lungs(), strict=True):
            save(tmp_path / file, mask)
        scanner = ("Aurora", "Borealis")[number % 4 // 2]
        effusion = ("0", "1", "")[number // 2 % 3]
        rows.append([image, f"P{number // 2:03d}", scanner, "FM"[number % 2], 40 + number, effusion, left, right])
    columns = ["image", "patient_id", "scanner", "sex", "age", "pleural_effusion", "left_lung_mask", "right_lung_mask"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "lungs.csv", index=False)
    return tmp_path / "lungs.csv"


SMALLER = {  # what makes each command of the page a matter of seconds
    "data prepare table": ["--size", "32", "--manual", "age>=52", "--workers", "1", "--quiet"],
    "data check": ["--workers", "1", "--quiet"],
    "counterfactuals train": ["--preset", "64", "--network.encoder", "16b1d2,8b1d2,4b1d4,1b1", "--network.decoder",
                              "1b1,4b1,8b1,16b1", "--network.widths", "8", "8", "16", "16", "--network.latents",
                              "4", "3", "2", "1", "--network.max-latent-size", "8", "--batch-size", "4", *QUICK],
    "counterfactuals generate": ["--quiet"],
    "counterfactuals evaluate": ["--judge-epochs", "1", "--quiet"],
    "pretrain": TINY_PRETRAINING,
    "finetune": [*QUICK, "--batch-size", "4", "--folds", "2"],
    "compare": [],
    "chromap": ["--fit-pixels", "100"],
}  # fmt: skip


@pytest.mark.slow
def test_your_own_images_word_by_word(table, run_densecf):
    folder, ran = table.parent, []
    for words in commands("your-own-images.md"):
        name = " ".join(words[: cli._command_words(words)])
        network = TINY_NETWORK if "none" in words else []
        run_densecf(folder, *words, *SMALLER[name], *network)
        ran.append(name)
    assert set(ran) == set(SMALLER)
    assert (folder / "runs/pretrain/s-mvd-cl/weights.safetensors").is_file()
    assert (folder / "runs/finetune/baseline/overlays.png").is_file()
    assert (folder / "runs/chromap/0001/chromap.png").is_file()
    (example,) = blocks("your-own-images.md", "python")
    done = subprocess.run([sys.executable, "-c", example], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_example_of_a_method(phantom, tmp_path):
    script = tmp_path / "mader.py"
    script.write_text(example("densecf with one more method"))
    run = tmp_path / "runs/pretrain/mader"
    method = ["--method", "mader", "--preset", "embedded"]
    first = [*method, "--data", str(phantom), *TINY_PRETRAINING, "--monitor-every", "0"]
    for arguments in (first, ["--resume", "--out", str(run)], ["--config", str(run / "config.yaml"), "--out", "again"]):
        words = [sys.executable, str(script), "pretrain", *arguments]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "again/weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_the_example_of_a_generator(tmp_path, phantom, run_densecf):
    script = tmp_path / "linear_generator.py"
    script.write_text(example("Counterfactuals by linear regression"))
    run_densecf(tmp_path, "data", "prepare", "phantom", "--out", "data/lungs", "--size", 32, "--images", 24, "--quiet")
    done = subprocess.run([sys.executable, str(script), "data/lungs"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    data = PreparedDataset.open(tmp_path / "data/lungs")
    assert data.counterfactuals["linear"] == ("scanner=other",)
    rows = range(len(data))
    truth = np.stack([data.counterfactual("truth", "scanner=other", row) for row in rows])
    linear = np.stack([data.counterfactual("linear", "scanner=other", row) for row in rows])
    real = np.stack([data.image(row) for row in rows])
    assert np.abs(linear - truth).mean() < 0.6 * np.abs(real - truth).mean()
    pretraining, evaluation = commands("extending.md")[-2:]
    run_densecf(tmp_path, *pretraining, *TINY_PRETRAINING, "--monitor-every", 0)
    run_densecf(tmp_path, *evaluation, "--judge-epochs", 1, "--quiet")
