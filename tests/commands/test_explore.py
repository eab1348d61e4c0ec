"""`densecf explore`: from weights and images to a page, without a training."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from densecf import runs
from densecf.commands.explore import PAGE, run_explore
from densecf.commands.options import ExploreOptions
from densecf.data.prepared import PreparedDataset
from densecf.errors import CheckpointError, ConfigError, DataError
from densecf.models.unet import build_unet
from densecf.models.weights import WEIGHTS, save_weights
from tests.commands.fake_runs import image_level_run

CHANNELS = (16, 8, 8, 8, 8)


def pixel_run(folder: Path, name: str, *, size: int = 64) -> Path:
    """A pixel-level run with random weights."""
    torch.manual_seed(sum(map(ord, name)))
    out = runs.start_run("pretrain", name, {"data": "phantom"}, out=folder / name)
    model = build_unet("resnet18", CHANNELS, classes=2)
    facts = {"method": name, "encoder": "resnet18", "decoder_channels": CHANNELS, "classes": 2, "size": size}
    save_weights(model, out / WEIGHTS, {**facts, "profile": "robust"})
    return out


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    for name, size in (("vader", 64), ("mvd-cl", 64), ("large", 96)):
        pixel_run(folder, name, size=size)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (80, 60), dtype=np.uint8)).save(folder / "a.png")
    return folder


def options(place: Path, *names: str, **more) -> ExploreOptions:
    return ExploreOptions(run=tuple(str(place / name) for name in names), out=place / "out", overwrite=True, **more)


def test_files_under_two_runs(place, capsys):
    out = run_explore(options(place, "vader", "mvd-cl", images=(place / "a.png",)))
    printed, text = capsys.readouterr().out, (out / PAGE).read_text(encoding="utf-8")
    assert runs.is_finished(out)
    assert runs.read_config(out)["error"] == 0.05
    for name in ("vader", "mvd-cl"):
        assert f"{name}: " in printed
        assert f">{name}</option>" in text
    assert "wrong by at most 0.0" in printed


def test_a_record_with_its_counterfactuals_beside_a_file(place, phantom):
    data = PreparedDataset.open(phantom)
    record = data.records["image"].iloc[3]
    alone = run_explore(options(place, "vader", data=str(phantom), record=record))
    titles = re.findall(r"<figcaption><span>(.*?)</span>", (alone / PAGE).read_text(encoding="utf-8"))
    assert titles[0] == "real"
    assert len(titles) == 1 + sum(map(len, data.counterfactuals.values())) > 1
    beside = run_explore(options(place, "vader", data=str(phantom), record=record, images=(place / "a.png",)))
    both = re.findall(r"<figcaption><span>(.*?)</span>", (beside / PAGE).read_text(encoding="utf-8"))
    assert both[:2] == ["a.png", f"{record} · real"]
    assert len(both) == len(titles) + 1


def test_runs_of_different_datasets_are_told_apart_by_the_flag_there_is(place, tmp_path):
    other = pixel_run(tmp_path, "other")
    (other / runs.CONFIG).write_text("data: elsewhere\n")
    with pytest.raises(ConfigError, match=r"^--data: the runs were pretrained on different datasets"):
        run_explore(ExploreOptions(run=(str(place / "vader"), str(other)), out=tmp_path / "none"))


def test_needs_pixel_level_runs(place, phantom, tmp_path):
    data = PreparedDataset.open(phantom)
    image_level = image_level_run(tmp_path, "simclr", data, [0])
    with pytest.raises(CheckpointError, match="pixel-level"):
        run_explore(ExploreOptions(run=(str(image_level),), data=str(phantom), out=tmp_path / "none"))
    with pytest.raises(ConfigError, match="random weights"):
        run_explore(ExploreOptions(run=("none",), data=str(phantom), out=tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (["vader"], {"error": 0.0}, "--error"),
        (["vader"], {"images": (Path("a.png"),), "data": "phantom"}, "--record"),
        (["vader", "large"], {"images": (Path("a.png"),)}, "prepared differently"),
        (["vader"], {"images": (Path("nowhere.png"),)}, "nowhere.png"),
    ],
)
def test_what_is_refused_leaves_nothing(place, names, more, message):
    with pytest.raises((ConfigError, DataError), match=message):
        run_explore(ExploreOptions(run=tuple(str(place / name) for name in names), out=place / "none", **more))
    assert not (place / "none").exists()
