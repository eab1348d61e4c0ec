"""A fine-tuning small enough to be run often: the phantom's 24 oldest manual cases, a tiny network, two folds."""

from pathlib import Path

from densecf import cli

CASES = 24


def arguments(data: Path, out: Path, *more: object) -> list[str]:
    options = {
        "--data": data, "--out": out, "--from": "none", "--where": "split=manual,age>=70", "--folds": 2,
        "--epochs": 2, "--batch-size": 6, "--model.encoder": "resnet18", "--hardware.accelerator": "cpu",
        "--hardware.precision": 32, "--hardware.workers": 0,
    }  # fmt: skip
    flags = [str(word) for option in options.items() for word in option]
    return ["finetune", *flags, "--model.decoder-channels", *5 * ["16"], "--quiet", *map(str, more)]


def finetune(data: Path, out: Path, *more: object) -> Path:
    assert cli.main(arguments(data, out, *more)) == 0
    return out
