"""Every kind of damage is found, named with its record, and graded; a sound dataset is left in peace."""

import json

import numpy as np
import pytest

from densecf.data.check import check
from densecf.data.checks.anatomy import sides
from densecf.data.checks.counts import check_counts
from densecf.data.checks.duplicates import alike, equal_pairs
from densecf.data.checks.measure import appearance, measure, measure_mask
from densecf.data.checks.report import markdown
from densecf.data.checks.selection import cells, suspects
from densecf.data.prepared import PreparedDataset
from tests.data.checks.damaged import SIZE, MadeUp, flip_mask, images, made, masks


def found(data: PreparedDataset, topic: str, grade: str = "error") -> dict[str, tuple[int, ...]]:
    """Rows of each finding of a topic and grade, by its short name."""
    report = check(PreparedDataset.open(data.path), workers=1, progress=False)
    return {f.short: f.rows for f in report.findings if (f.topic, f.grade) == (topic, grade)}


@pytest.fixture
def data(tmp_path) -> PreparedDataset:
    return made(tmp_path)


def test_a_sound_dataset_has_no_errors_and_no_warnings(data):
    report = check(data, verify=True, workers=1, progress=False)
    assert not report.of_grade("error")
    assert not report.of_grade("warning")
    splits = next(table for table in report.tables if table.title == "Splits")
    assert [row[:3] for row in splits.rows] == [
        ("train", 20, 10), ("val", 20, 10), ("test", 20, 10), ("manual", 20, 10), ("all", 80, 40),
    ]  # fmt: skip


def test_changed_files_are_found_on_demand(data):
    images(data)[0, 0, 0] ^= 1
    assert not check(data, workers=1, progress=False).of_grade("error")
    report = check(data, verify=True, workers=1, progress=False)
    assert [finding.topic for finding in report.of_grade("error")] == ["files"]


def test_a_flipped_mask_is_on_the_wrong_side(data):
    flip_mask(data, 7)
    assert found(data, "sides") == {"sides exchanged": (7,)}


def test_names_exchanged_throughout_are_said_to_be(data):
    array = masks(data)
    array[:] = np.array([0, 2, 1], np.uint8)[array]
    report = check(data, workers=1, progress=False)
    (finding,) = (f for f in report.of_grade("error") if f.topic == "sides")
    assert finding.count == 80
    assert "class names" in finding.message


def test_one_lung_alone_on_the_wrong_side(data):
    array = masks(data)
    array[5][array[5] == 1] = 0
    array[6] = np.where(array[6, :, ::-1] == 2, 2, 0)
    assert found(data, "sides") == {"on the wrong side": (6,)}
    assert found(data, "sides", "warning") == {"no left_lung": (5, 6)}


def test_masks_that_cannot_be_right(data):
    array = masks(data)
    array[3] = 0
    array[4, 0, 0] = 9
    array[8] = np.where(np.indices((SIZE, SIZE))[0] % 2, array[8], 0)
    array[9] = np.where(np.indices((SIZE, SIZE))[0] < 7, array[9], 0)
    assert found(data, "masks") == {"unknown class": (4,)}
    warnings = found(data, "masks", "warning")
    assert warnings["empty mask"] == (3,)
    assert warnings["ragged mask"] == (8,)
    assert warnings["left_lung small"][0] == warnings["right_lung small"][0] == 9


def test_images_that_cannot_be_right(data):
    array = images(data)
    array[1], array[2] = 1000, 65535 - array[2]
    array[3] = 0
    array[3, 0, :3] = 65535
    array[4] = 30000 + array[4] // 100
    assert found(data, "intensity") == {"constant": (1,)}
    warnings = found(data, "intensity", "warning")
    assert warnings["like a negative"] == (2,)
    assert warnings["mostly black"] == (3,)
    assert set(warnings["no contrast"]) == {3, 4}


def test_the_same_picture_under_two_patients_or_in_two_splits(data):
    images(data)[10] = images(data)[0]
    assert found(data, "duplicates") == {"occurs twice": (0, 10)}


def test_the_same_picture_under_one_patient_is_a_warning(data):
    images(data)[1] = images(data)[0]
    assert found(data, "duplicates") == {}
    assert found(data, "duplicates", "warning") == {"occurs twice": (0, 1)}


@pytest.mark.parametrize("few", [False, True])
def test_another_gain_does_not_hide_a_copy(tmp_path, few):
    data = made(tmp_path, n=20 if few else 80)
    noise = np.random.default_rng(0).normal(0, 300, (SIZE, SIZE))
    images(data)[10] = np.clip(images(data)[0] * 0.8 + 3000 + noise, 0, 65535)
    assert found(data, "duplicates") == {"occurs twice": (0, 10)}


def test_constant_images_are_no_duplicates_of_one_another(data):
    images(data)[[1, 20]] = 1000
    assert found(data, "duplicates") == {}


def test_one_patient_in_two_splits():
    records = MadeUp().records
    records.loc[0, "split"] = "test"
    (finding,) = (f for f in check_counts(records).findings if f.grade == "error")
    assert finding.rows == (0, 1)
    assert finding.examples == ("patient p000: test, train",)


def test_patients_that_a_published_split_shares_are_a_warning():
    records = MadeUp().records
    records.loc[0, "split"] = "test"
    assert [f.grade for f in check_counts(records, known_shared=1).findings if f.topic == "patients"] == ["warning"]
    records.loc[10, "split"] = "test"
    assert [f.grade for f in check_counts(records, known_shared=1).findings if f.topic == "patients"] == ["error"]


def test_ids_that_differ_in_zeros_only_are_suspicious():
    records = MadeUp().records
    records["patient_id"] = [str(i // 2) for i in range(len(records))]
    records.loc[0:1, "patient_id"] = "007"  # train; patient 7 is in manual
    (finding,) = (f for f in check_counts(records).findings if f.grade == "warning")
    assert finding.examples == ("007 and 7",)


def test_stored_counterfactuals(tmp_path):
    names = ("a=other", "b=other", "c=1")
    data = made(tmp_path, counterfactuals=names)
    assert not found(data, "counterfactuals")
    arrays = [np.lib.format.open_memmap(data.path / f"counterfactuals/made/{name}.npy", "r+") for name in names]
    arrays[0][:] = data.images
    arrays[1][3], arrays[1][4], arrays[1][5] = data.images[3], 77, arrays[1][6]
    arrays[2][:] = arrays[2] // 2
    report = check(data, workers=1, progress=False)
    by_grade = {
        grade: [f for f in report.of_grade(grade) if f.topic == "counterfactuals"] for grade in ("error", "warning")
    }
    assert [(f.short, f.count) for f in by_grade["error"]] == [("copy", 80), ("constant", 1)]
    assert [(f.short, f.rows) for f in by_grade["warning"]] == [("copy", (3,)), ("same", (6,)), ("", ())]
    assert "grey levels" in by_grade["warning"][-1].message


def test_datasets_with_little_in_them(tmp_path):
    data = made(tmp_path, n=3, masks=False)
    report = check(data, workers=1, progress=False)
    assert not report.of_grade("error")
    assert "Masks by class and scanner" not in {table.title for table in report.tables}
    markdown(report)


def test_the_report_is_json_and_markdown(data):
    flip_mask(data, 7)
    report = check(data, workers=1, progress=False)
    loaded = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert loaded["errors"] == 1
    assert loaded["findings"][0]["rows"] == [7]
    text = markdown(report)
    assert text.index("## Errors") < text.index("## Splits")
    assert "007.png (patient p003)" in text


def test_sides_are_found_by_name():
    assert sides(("background", "left_lung", "right_lung")) == [(1, 2)]
    assert sides(("background", "Right Breast", "heart", "Left Breast")) == [(3, 1)]
    assert sides(("background", "lung_l", "lung_r")) == [(1, 2)]
    assert sides(("background", "lung", "leftover")) == []


def test_masks_are_measured():
    labels = np.zeros((10, 10), np.uint8)
    labels[2:4, 3:7], labels[9, 9] = 1, 7
    area, centre, edges, strange = measure_mask(labels, 2)
    assert area.tolist() == [91, 8]
    assert centre[1].tolist() == [2.5, 4.5]
    assert edges == 2 * 4 + 2 * 2 + 2
    assert strange == 1


def test_appearance_is_free_of_gain_and_offset():
    image = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    np.testing.assert_allclose(appearance(image), appearance(image * 0.3 + 0.2), atol=1e-5)
    assert np.linalg.norm(appearance(image)) == pytest.approx(1, abs=1e-5)
    assert not appearance(np.full((40, 40), 0.3, np.float32)).any()


def test_alike_finds_what_all_pairs_would(monkeypatch):
    monkeypatch.setattr("densecf.data.checks.duplicates._BLOCK", 7)
    vectors = np.random.default_rng(0).normal(size=(60, 5))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    pairs = np.concatenate(list(alike(vectors, 0.8)))
    expected = {(i, j) for i in range(60) for j in range(i) if vectors[i] @ vectors[j] >= 0.8}
    assert {(max(int(i), int(j)), min(int(i), int(j))) for i, j, _ in pairs} == expected
    assert len(pairs) == len(expected) > 20


def test_equal_pairs_name_the_first():
    pairs = equal_pairs([b"a", b"b", b"a", b"a"], np.array([3, 5, 7, 9]))
    assert [(pair.first, pair.second) for pair in pairs] == [(3, 7), (3, 9)]


def test_workers_do_not_change_what_is_measured(data):
    one, two = (measure(data, workers=workers, progress=False) for workers in (1, 2))
    assert one.digest == two.digest
    for name in ("levels", "look", "area", "centre", "edges"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_every_cell_is_shown(data):
    shown = cells(data.records)
    assert len(shown) == len(data.records.assign(e=data.records["pleural_effusion"].fillna(-1)).groupby(["split", "e"]))
    assert sum(count for _, count, _ in shown) == 80
    flip_mask(data, 7)
    masks(data)[8] = 0
    report = check(data, workers=1, progress=False)
    assert [row for row, _ in suspects(report.findings)][:2] == [7, 8]
