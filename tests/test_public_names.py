"""Names that other people's code relies on."""

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator

import torch

import densecf
from densecf.data import PreparedDataset, phantom
from densecf.losses import info_nce
from densecf.methods import METHODS
from densecf.views import RandomViewd, sample_correspondences
from tests.conftest import ROOT

SHAPE = re.compile(r"\((?:\.\.\.|\w[\w+' -]*),[^)]*\)")


def test_public_names():
    assert issubclass(densecf.errors.DataError, densecf.DensecfError)
    assert callable(densecf.load_pretrained)
    assert callable(densecf.encoder_state_dict)
    assert callable(PreparedDataset.open)
    assert callable(phantom.render)
    assert set(METHODS) == {
        *("vader", "dvd-cl", "mvd-cl", "ssdcl", "s-dvd-cl", "s-mvd-cl", "segmentation"),
        *("simclr", "simclr-plus", "cf-simclr", "dino", "dino-plus", "cf-dino"),
    }
    assert inspect.isclass(RandomViewd)


def test_the_loss_is_called_as_documented():
    assert list(inspect.signature(info_nce).parameters) == [
        "queries", "keys", "query_ids", "key_ids", "temperature", "exclude_self", "query_mask",
    ]  # fmt: skip
    rows, ids = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    assert info_nce(rows, rows, ids, ids, temperature=0.5, exclude_self=True).ndim == 0


def test_correspondences_are_called_as_documented():
    affines = torch.eye(3, dtype=torch.float64).expand(2, 3, 3, 3)
    points, valid = sample_correspondences(affines, 32, 5, torch.Generator().manual_seed(0))
    assert points.shape == (2, 3, 5, 2)
    assert valid.shape == (2, 5)


def test_published_datasets_are_read_as_documented():
    from densecf.data import chexmask, read_records

    assert list(inspect.signature(read_records).parameters)[:3] == ["name", "table", "split"]
    assert list(inspect.signature(chexmask.decode).parameters) == ["rle", "height", "width"]


def documented() -> Iterator[tuple[str, object]]:
    """What the page on the API lists, by its full name."""
    page = (ROOT / "docs/api.md").read_text()
    for kind, name, options in re.findall(r"\.\. auto(\w+):: (\S+)\n((?:   :.*\n)*)", page):
        if kind != "module":
            module, _, rest = name.rpartition(".")
            yield name, getattr(importlib.import_module(module), rest)
            continue
        module = importlib.import_module(name)
        listed = re.findall(r"\w+", re.search(r":members:(.*)", options)[1])
        own = [key for key, value in vars(module).items() if key[0] != "_" and getattr(value, "__module__", "") == name]
        for member in listed or getattr(module, "__all__", own):
            yield f"{name}.{member}", getattr(module, member)


def functions(name: str, thing: object) -> Iterator[tuple[str, object, str]]:
    """A function, or a class's public methods and properties, and what the class says of them all."""
    if inspect.isfunction(thing):
        yield name, thing, ""
    if not inspect.isclass(thing):
        return
    for key, value in vars(thing).items():
        value = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if key[0] != "_" and inspect.isfunction(value):
            yield f"{name}.{key}", value, inspect.getdoc(thing) or ""


def test_public_docstrings_tell_shapes_and_errors():
    seen, wrong = 0, []
    for name, thing in documented():
        if inspect.isclass(thing) and not inspect.getdoc(thing):
            wrong.append(f"{name}: no docstring")
        for place, function, of_class in functions(name, thing):
            seen += 1
            said = inspect.getdoc(function) or ""
            arrays = re.search("Tensor|ndarray", str(inspect.signature(function)))
            raises = re.search(r"raise \w+Error\(", textwrap.dedent(inspect.getsource(function)))
            if not said:
                wrong.append(f"{place}: no docstring")
            if arrays and not SHAPE.search(said + of_class):
                wrong.append(f"{place}: takes or gives arrays, and says no shape")
            if raises and not re.search("[Rr]aises", said + of_class):
                wrong.append(f"{place}: raises, and does not say what")
    assert seen > 80
    assert not wrong, "\n".join(wrong)
