"""The prepared dataset: what is in it, and that nothing broken opens."""

import json
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest

from densecf.data import PreparedDataset, add_counterfactuals, prepare
from densecf.data.readers.table import TableSource
from densecf.data.sources import Sample
from densecf.errors import ConfigError, DataError, DensecfError
from tests.data.making import cohort, source

TRUTH = "scanner=other+pleural_effusion=other"


class MadeUp:
    """A source with counterfactuals, without files."""

    class_names: tuple[str, ...] = ("background", "left_lung", "right_lung")
    counterfactual_source = "truth"
    counterfactual_names: tuple[str, ...] = ("scanner=other", TRUTH)

    def __init__(self, n=5, **wrong):
        self.wrong = wrong
        self.records = pd.DataFrame(
            {
                "image": [f"{i}" for i in range(n)],
                "patient_id": [f"{i:04d}" for i in range(n)],
                "mask_kind": ["manual" if i % 2 else "" for i in range(n)],
                "level": np.linspace(0, 1, n) / 3,
                "count": np.arange(n),
                "flag": np.arange(n) > 2,
            }
        )

    def load(self, row, size):
        image = np.random.default_rng(row).random((size, size)).astype(np.float32)
        mask = np.full((size, size), row % 3, np.uint8) if row % 2 else None
        truth = {name: 1 - image * (i + 1) / 2 for i, name in enumerate(self.counterfactual_names)}
        sample = {"image": image, "mask": mask, "affine": np.eye(3) * (row + 1) / 3, "pixel_spacing": row + 0.1}
        return Sample(**sample | {"counterfactuals": truth} | self.wrong)

    def fingerprint(self):
        return {"reader": "made up", "n": len(self.records)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(MadeUp(), tmp_path_factory.mktemp("made") / "up", size=24, progress=False)


@pytest.fixture
def copy(dataset, tmp_path):
    """A dataset that may be broken."""
    return PreparedDataset.open(shutil.copytree(dataset.path, tmp_path / "copy"))


def test_arrays_hold_what_the_source_gave(dataset):
    made = MadeUp()
    assert (len(dataset), dataset.size, dataset.class_names) == (5, 24, made.class_names)
    assert dataset.images.dtype == np.uint16
    for row in range(5):
        sample = made.load(row, 24)
        np.testing.assert_allclose(dataset.image(row), sample.image, atol=0.5 / 65535 + 1e-7)
        assert dataset.image(row).dtype == np.float32
        np.testing.assert_array_equal(dataset.affines[row], sample.affine)
        if sample.mask is None:
            assert dataset.mask(row) is None
            assert (dataset.masks[row] == 255).all()
        else:
            np.testing.assert_array_equal(dataset.mask(row), sample.mask)
        for name in made.counterfactual_names:
            stored = dataset.counterfactual("truth", name, row)
            np.testing.assert_allclose(stored, sample.counterfactuals[name], atol=0.5 / 65535 + 1e-7)
    dataset.verify()


def test_records_keep_their_types(dataset):
    records = dataset.records
    assert records["patient_id"].tolist() == ["0000", "0001", "0002", "0003", "0004"]
    assert records["level"].tolist() == MadeUp().records["level"].tolist()
    assert records["pixel_spacing"].tolist() == [0.1, 1.1, 2.1, 3.1, 4.1]
    assert records["split"].eq("train").all()
    assert records["pleural_effusion"].isna().all()
    assert records.dtypes[["level", "count", "flag"]].tolist() == ["float64", "int64", "bool"]


def test_description(dataset):
    assert dataset.counterfactuals == {"truth": ("scanner=other", TRUTH)}
    assert dataset.meta["num_records"] == 5
    assert dataset.status == "prepared"
    assert "5 records, 24 px" in repr(dataset)


def test_a_dataset_without_masks(tmp_path):
    bare = prepare(TableSource(cohort(tmp_path, 2, masks=False)), tmp_path / "out", size=16, progress=False)
    assert bare.masks is None
    assert bare.mask(0) is None
    assert not (bare.path / "masks.npy").exists()
    assert bare.counterfactuals == {}
    assert (bare.meta["profile"], bare.meta["profile_version"]) == ("robust", 1)


def test_the_same_again_is_opened_as_it_is(tmp_path):
    made = source(tmp_path)
    first = prepare(made, tmp_path / "out", size=24, progress=False)
    written = (first.path / "images.npy").stat().st_mtime_ns
    again = prepare(made, tmp_path / "out", size=24, progress=False)
    assert again.status == "reused"
    assert (first.path / "images.npy").stat().st_mtime_ns == written
    with pytest.raises(DataError, match=r"other data or settings \(size differ\).*--overwrite"):
        prepare(made, tmp_path / "out", size=32, progress=False)
    with pytest.raises(DataError, match="profile"):
        prepare(source(tmp_path, profile="authors"), tmp_path / "out", size=24, progress=False)
    assert prepare(made, tmp_path / "out", size=32, overwrite=True, progress=False).size == 32
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "masks", "out", "table.csv"]


def test_a_folder_that_is_no_dataset_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    assert prepare(MadeUp(), tmp_path / "out", size=24, progress=False).size == 24  # an empty one may be filled
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="is not a prepared dataset, so it is not touched"):
            prepare(MadeUp(), tmp_path / "mine", size=24, overwrite=overwrite, progress=False)


@pytest.mark.parametrize(
    ("options", "message"), [({"size": 8}, "at least 16"), ({"size": 24, "workers": 0}, "workers")]
)
def test_options_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        prepare(MadeUp(), tmp_path / "out", **options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": np.zeros((3, 3), np.float32)}, "shape"),
        ({"image": np.full((24, 24), 2, np.float32)}, r"not in \[0, 1\]"),
        ({"image": np.full((24, 24), np.nan, np.float32)}, r"not in \[0, 1\]"),
        ({"counterfactuals": {}}, "other counterfactuals"),
        ({"mask": np.zeros((24, 24), np.uint8)}, "do not agree"),
    ],
)
def test_a_source_that_breaks_its_promises_fails_loudly(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        prepare(MadeUp(**wrong), tmp_path / "out", size=24, progress=False)
    assert not (tmp_path / "out").exists()


def damage(path, edit):
    meta = json.loads((path / "meta.json").read_text())
    edit(meta)
    (path / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda p: (p / "meta.json").unlink(), "no meta.json"),
        (lambda p: (p / "meta.json").write_text("{"), "not valid JSON"),
        (lambda p: (p / "meta.json").write_text("[]"), "not the description"),
        (lambda p: damage(p, lambda m: m.update(format=99)), "prepared in format 99"),
        (lambda p: damage(p, lambda m: m.update(colour="red")), "unknown colour"),
        (lambda p: damage(p, lambda m: m.pop("size")), "missing size"),
        (lambda p: damage(p, lambda m: m.update(num_records=4)), "shape"),
        (
            lambda p: damage(p, lambda m: m["counterfactuals"]["truth"]["names"].append("sex=F")),
            "without a file: sex=F",
        ),
        (lambda p: (p / "images.npy").unlink(), r"images\.npy: .* missing"),
        (lambda p: (p / "masks.npy").unlink(), r"masks\.npy: .* missing"),
        (lambda p: (p / "images.npy").write_bytes((p / "images.npy").read_bytes()[:-1]), r"images\.npy: .* bytes"),
        (lambda p: (p / "images.npy").write_bytes(bytes((p / "images.npy").stat().st_size)), r"images\.npy: damaged"),
        (
            # A header of numpy's that ends within its brackets.
            lambda p: (p / "images.npy").write_bytes((p / "images.npy").read_bytes().replace(b"}", b"(", 1)),
            r"images\.npy: damaged",
        ),
        (lambda p: (p / "records.csv").write_text("image,patient_id\n"), r"records\.csv"),
    ],
)
def test_broken_datasets_do_not_open(copy, edit, message):
    edit(copy.path)
    with pytest.raises(DataError, match=message):
        PreparedDataset.open(copy.path)


def test_a_missing_dataset_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match=r"none: there is no such folder\. Make one with 'densecf data prepare'"):
        PreparedDataset.open(tmp_path / "none")
    (tmp_path / "half.partial").mkdir()
    with pytest.raises(DataError, match="never finished"):
        PreparedDataset.open(tmp_path / "half")


@pytest.mark.parametrize(
    "name", ["images.npy", "masks.npy", "affines.npy", "records.csv", f"counterfactuals/truth/{TRUTH}.npy"]
)
def test_verify_names_what_changed(copy, name):
    content = bytearray((copy.path / name).read_bytes())
    content[-5] ^= 1
    (copy.path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"changed since") as caught:
        PreparedDataset.open(copy.path).verify()
    assert name in str(caught.value)


def read_sum(dataset, row):
    return float(dataset.image(row).sum() + dataset.counterfactual("truth", TRUTH, row).sum())


def test_many_workers_read_it(dataset):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        sums = list(pool.map(read_sum, [dataset] * 5, range(5)))
    assert sums == [read_sum(dataset, row) for row in range(5)]


def test_pickling_leaves_the_arrays_out_and_notices_a_replaced_dataset(tmp_path):
    data = prepare(MadeUp(50), tmp_path / "out", size=64, progress=False)
    pickled = pickle.dumps(data)
    assert len(pickled) < 30_000 < data.images.nbytes
    prepare(MadeUp(40), tmp_path / "out", size=64, overwrite=True, progress=False)
    with pytest.raises(DataError, match="replaced while it was in use"):
        pickle.loads(pickled)


def test_the_checksum_speaks_of_the_content(tmp_path, dataset):
    assert prepare(MadeUp(), tmp_path / "a", size=24, progress=False).checksum == dataset.checksum
    assert prepare(MadeUp(4), tmp_path / "b", size=24, progress=False).checksum != dataset.checksum


def test_counterfactuals_that_are_not_stored_are_named(dataset):
    with pytest.raises(DataError, match=r"no counterfactual hvae/sex=F is stored; stored are: truth/scanner=other"):
        dataset.counterfactual("hvae", "sex=F", 0)


def flat(value, n=5):
    return (np.full((24, 24), value, np.float32) for _ in range(n))


def test_counterfactuals_are_added(copy):
    first = add_counterfactuals(copy, "hvae", "scanner=other", flat(0.25), {"weights": "abc"})
    both = add_counterfactuals(first, "hvae", "sex=F", flat(0.5), {"weights": "abc"})
    assert both.counterfactuals == {"truth": ("scanner=other", TRUTH), "hvae": ("scanner=other", "sex=F")}
    assert both.checksum == copy.checksum
    assert both.meta["counterfactuals"]["hvae"]["provenance"] == {"weights": "abc"}
    np.testing.assert_allclose(both.counterfactual("hvae", "sex=F", 4), 0.5, atol=1e-5)
    both.verify()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(copy)).images, both.images)


def test_counterfactuals_are_replaced_on_demand_only(copy):
    data = add_counterfactuals(copy, "hvae", "scanner=other", flat(0.25), {"weights": "abc"})
    with pytest.raises(DataError, match="hvae/scanner=other are stored already"):
        add_counterfactuals(data, "hvae", "scanner=other", flat(0.5), {"weights": "abc"})
    with pytest.raises(DataError, match="made by another model"):
        add_counterfactuals(data, "hvae", "sex=F", flat(0.5), {"weights": "xyz"})
    data = add_counterfactuals(data, "hvae", "sex=F", flat(0.5), {"weights": "xyz"}, overwrite=True)
    assert data.counterfactuals["hvae"] == ("sex=F",)
    data.verify()


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("a", flat(0.5, 4), "4 images for 5 records"),
        ("a", flat(0.5, 6), "6 images for 5 records"),
        ("a", flat(1.5), r"a, row 0: values from 1\.5 to 1\.5, expected 0 to 1"),
        ("a", flat(np.nan), "expected 0 to 1"),
        ("a", (np.zeros((3, 3)) for _ in range(5)), r"shape \(3, 3\)"),
        ("../a", flat(0.5), "cannot name a counterfactual"),
    ],
)
def test_counterfactuals_that_do_not_fit_leave_nothing(copy, name, rows, message):
    with pytest.raises(DataError, match=message):
        add_counterfactuals(copy, "hvae", name, rows, {})
    assert "hvae" not in PreparedDataset.open(copy.path).counterfactuals
    assert not list(copy.path.glob("counterfactuals/hvae/*"))


def test_a_full_disk_while_adding(copy, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DensecfError, match="the disk is full"):
        add_counterfactuals(copy, "hvae", "a", flat(0.5), {})
    assert PreparedDataset.open(copy.path).counterfactuals == copy.counterfactuals
    assert not list(copy.path.glob("counterfactuals/.hvae*"))


def test_an_error_while_adding_leaves_nothing(copy):
    def rows():
        yield np.zeros((24, 24))
        raise RuntimeError("the maker failed")

    with pytest.raises(RuntimeError, match="the maker failed"):
        add_counterfactuals(copy, "hvae", "a", rows(), {})
    assert PreparedDataset.open(copy.path).counterfactuals == copy.counterfactuals
    assert not list(copy.path.glob("counterfactuals/.hvae*"))
