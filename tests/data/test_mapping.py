"""Mappings: what each rule gives, that all mistakes are told at once, and that they prepare any table."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from densecf.commands.options import PrepareTableOptions
from densecf.commands.prepare import prepare_table
from densecf.data.csv_table import CsvTable
from densecf.data.mapped import apply_mapping
from densecf.data.mapping import MAPPINGS, Mapping, builtin_mapping, load_mapping
from densecf.data.readers.published import PublishedDataset, read_dataset
from densecf.data.run_lengths import encode
from densecf.errors import ConfigError, DataError, LeakError
from tests.data.making import lungs, radiograph, save


def mapping(**given) -> Mapping:
    columns = {"image": "Image", "patient_id": "Patient"} | given.pop("columns", {})
    return Mapping.model_validate({"columns": columns} | given)


def table(**columns) -> CsvTable:
    n = len(next(iter(columns.values())))
    base = {"Image": [f"{i}.png" for i in range(n)], "Patient": [f"p{i}" for i in range(n)]}
    frame = pd.DataFrame({name: pd.Series(cells, dtype="str") for name, cells in (base | columns).items()})
    return CsvTable(frame, list(range(2, n + 2)))


def column(rule, **columns) -> list:
    """What a rule makes of cells; NaN becomes None."""
    values = apply_mapping(mapping(columns={"x": rule}), table(**columns), "t.csv").records["x"].tolist()
    return [None if value != value else value for value in values]


@pytest.mark.parametrize("path", sorted(MAPPINGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_built_in_mappings_load(path):
    assert builtin_mapping(path.stem).name == path.stem


@pytest.mark.parametrize(
    ("rule", "cells", "expected"),
    [
        ("A", ["x", "nan", "None"], ["x", "", ""]),
        ({"from": "A", "values": {"Male": "M", "Female": "F"}}, ["Female", "", "Male"], ["F", "", "M"]),
        ({"from": "A", "values": {"1": "yes"}, "otherwise": "no"}, ["1.0", "01", "2", ""], ["yes", "yes", "no", ""]),
        ({"from": "A", "values": {"": "none"}}, ["", "NA"], ["none", ""]),
        ({"from": "A", "pattern": r"patient(\d+)/"}, ["x/patient007/y"], ["007"]),
        ({"from": "A", "pattern": r"^(\d+)Y$", "otherwise": ""}, ["058Y", "3M"], ["058", ""]),
        ({"from": "A", "type": "number"}, ["1.50", "", "-3"], [1.5, None, -3.0]),
        ({"from": "A", "type": "flag"}, ["1.0", "no", "True", ""], [1.0, 0.0, 1.0, None]),
        ({"from": "A", "type": "flag", "missing": "0"}, ["", "1"], [0.0, 1.0]),
        ({"from": "A", "contains": "b"}, ["['a', 'b']", "['a' 'b']", "[]", "['bb']", ""], [1.0, 1.0, 0.0, 0.0, None]),
        ({"from": "A", "contains": "it's b"}, ["[\"it's b\", 'a']", "[' it\\'s b']"], [1.0, 1.0]),
        ({"from": "A", "contains": ["a", "c"]}, ["['C']", "['\tc ']"], [0.0, 1.0]),
        ({"from": "A", "contains": "Mass", "separator": "|"}, ["Effusion|Mass", "Mass |X", "Masses"], [1.0, 1.0, 0.0]),
        ({"constant": "7"}, ["x", ""], ["7", "7"]),
    ],
)
def test_rules(rule, cells, expected):
    assert column(rule, A=cells) == expected


def test_a_difference_of_two_columns():
    rule = {"from": "A", "pattern": r"^(\d{4})", "minus": "B"}
    assert column(rule, A=["20140915", "20150101", ""], B=["1930.0", "", "1950"]) == [84.0, None, None]


def test_any_of_several_rules():
    rule = {"any": [{"from": "A", "contains": "x"}, {"from": "B", "contains": "C1"}]}
    found = column(rule, A=["['x']", "[]", "[]", "", "['x']"], B=["[]", "['C1']", "[]", "[]", ""])
    assert found == [1.0, 1.0, 0.0, None, 1.0]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"is": "PA"}, [0]),
        ({"is": ["PA", "AP"]}, [0, 1]),
        ({"is_not": "PA"}, [1, 2, 3, 4]),
        ({"given": "true"}, [0, 1, 3, 4]),
        ({"given": "false"}, [2]),
        ({"at_least": "3", "column": "N"}, [2, 3]),
        ({"at_least": "2", "at_most": "3", "column": "N"}, [1, 2]),
        ({"is": "3", "column": "N"}, [2]),
        ({"contains": "a", "column": "L"}, [0, 2]),
        ({"lacks": ["a", "b"], "column": "L"}, [3, 4]),
    ],
)
def test_filters(given, kept):
    cells = {
        "V": ["PA", "AP", "", "L", "pa"],
        "N": ["1", "2", "3.0", "4e0", ""],
        "L": ["['a']", "['b']", "['b', 'a']", "[]", ""],
    }
    mapped = apply_mapping(mapping(filters=[{"column": "V"} | given]), table(**cells), "t.csv")
    assert mapped.records["image"].tolist() == [f"{i}.png" for i in kept]
    assert mapped.table.lines == [i + 2 for i in kept]
    assert mapped.report[0].startswith(f"{5 - len(kept)} rows left out")


def test_a_filter_that_leaves_nothing_says_what_there_is():
    with pytest.raises(DataError, match=r"t\.csv: no row is left after the filter V is PA; V is: 'pa', 'x'"):
        apply_mapping(mapping(filters=[{"column": "V", "is": "PA"}]), table(V=["pa", "x"]), "t.csv")


def test_all_bad_cells_are_named_with_line_and_column():
    rules = {"sex": {"from": "S", "values": {"m": "M"}}, "n": {"from": "N", "type": "number"}}
    rules |= {"l": {"from": "L", "contains": "a"}, "f": {"from": "N", "type": "flag"}}
    with pytest.raises(DataError) as caught:
        apply_mapping(mapping(columns=rules), table(S=["m", "X"], N=["old", "1"], L=["['a'", "['a' b]"]), "t.csv")
    for part in (
        "t.csv",
        "5 problems",
        "line 3: S is 'X', expected one of m",
        "line 2: N is 'old', expected a number",
        "line 2: N is 'old', expected 1 or 0",
        "line 2: L is \"['a'\", expected a list such as ['a', 'b']",
        "line 3: L is",
    ):
        assert part in str(caught.value)


def test_missing_columns_are_named_at_once_with_what_is_alike():
    wanted = mapping(columns={"sex": "Sex", "age": "Age"}, keep="Note", files="{Folder}/{image}")
    with pytest.raises(
        DataError, match=r"t\.csv: .*Sex \(like sex\?\), Age, Note, Folder\. It has: Image, Patient, sex"
    ):
        apply_mapping(wanted, table(sex=["M"]), "t.csv")


def test_templates_take_record_columns_before_table_columns():
    wanted = mapping(columns={"image": {"from": "Image", "pattern": r"(\d+)"}, "age": {"constant": "5"}})
    mapped = apply_mapping(wanted, table(D=["x", "y"]), "t.csv")
    assert mapped.fill("{D}/{image}_{age}.png") == ["x/0_5.png", "y/1_5.png"]
    assert mapped.fill("same") == ["same", "same"]


MISTAKES = """
name: mine
columns:
  patient_id: {from: P, pattern: '(a)(b)'}
  sex: {from: S, constant: M}
  age: {from: A, pattern: '(unclosed'}
  scanner: {}
  view: {from: V, type: word}
  extra: {from: V, contains: a, values: {a: b}}
constants: {sex: M}
filters: [{column: X}, {column: Y, at_least: many}]
files: ["{image", "{a.b}x{}"]
masks: {labels: "{image}", classes: [lung]}
split: {test: 1.5, val: 0.1, seed: -1, shuffle: yes}
surprise: 1
"""


def test_every_mistake_in_a_mapping_is_told_at_once(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(MISTAKES)
    with pytest.raises(ConfigError) as caught:
        load_mapping(path)
    message = str(caught.value)
    for part in (
        "my.yaml",
        "columns.patient_id: the pattern has 2 groups",
        "columns.sex: give exactly one of from, constant and any",
        "columns.age.pattern",
        "columns.scanner: give exactly one",
        "columns.view.type",
        "columns.extra: contains gives 1 or 0",
        "filters.0: says nothing",
        "filters.1.at_least",
        "files: ",
        "masks: labels need classes",
        "split.test",
        "split.seed",
        "split.shuffle",
        "surprise",
    ):
        assert part in message, part


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: {image: A}", "columns: patient_id must be said"),
        ("a: [", "not a YAML file"),
        ("columns: {image: A, image: B, patient_id: C}", "'image' is given twice"),
        ("just text", "the file"),
        ("columns: {image: A, patient_id: B, sex: C}\nconstants: {sex: M}", "all name sex"),
        ("columns: {image: A, patient_id: B}\nmasks: {files: {l: a}, labels: b}", "exactly one of files, labels"),
        ("columns: {image: A, patient_id: B}\nmasks: {rle: {l: a}, height: H}", "both height and width"),
    ],
)
def test_mappings_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_mapping(tmp_path / "my.yaml")
    assert "my.yaml" in str(caught.value)


def test_yaml_tags_make_nothing(tmp_path):
    (tmp_path / "my.yaml").write_text("columns: {image: !!python/name:os.system A, patient_id: !!int 7}")
    rules = load_mapping(tmp_path / "my.yaml").columns
    assert (rules["image"].column, rules["patient_id"].column) == ("A", "7")


def test_a_missing_mapping(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_mapping(tmp_path / "my.yaml")


@given(st.lists(st.text(st.sampled_from("ab' \"\\,[]|-é\n"), max_size=5), max_size=5), st.data())
def test_lists_as_python_writes_them(items, data):
    wanted = data.draw(st.sampled_from([*items, "a"])).strip()
    cell = str(items)
    assert column({"from": "A", "contains": [wanted]}, A=[cell]) == [float(wanted in {item.strip() for item in items})]


PLAIN = """
columns: {image: File, patient_id: Who, sex: {from: Sex, values: {Male: M, Female: F}}, age: Age}
"""


def dataset(folder, n=8, lines=()):
    """Images in folders by sex, masks beside them in three ways; returns the table."""
    left, right = lungs()
    rows = ["File,Who,Sex,Age,Dir,left,right,H,W,Half"]
    for i in range(n):
        sex = ("Male", "Female")[i % 2]
        save(folder / f"{sex}/{i}.png", radiograph(i))
        save(folder / f"masks/{i}_l.png", left)
        save(folder / f"masks/{i}_r.png", right)
        save(folder / f"labels/{i}.png", (left > 0) * np.uint8(100) + (right > 0) * np.uint8(200))
        runs = (encode(left), encode(right)) if i else ("", "")
        rows.append(f"{i}.png,p{i // 2},{sex},{30 + i},{sex},{runs[0]},{runs[1]},40,48,{i if i else ''}")
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    return folder / "t.csv"


def prepared(folder, text, capsys=None, **options):
    (folder / "my.yaml").write_text(PLAIN + text)
    options = {"size": 32, "quiet": True, "out": folder / "out", "workers": 1} | options
    return prepare_table(PrepareTableOptions(table=folder / "t.csv", mapping=folder / "my.yaml", **options))


FILES = 'files: ["{Dir}/{image}"]\n'
ALL_MASKS = {
    "files": 'masks: {files: {left_lung: "masks/{Half}_l.png", right_lung: "masks/{Half}_r.png"}}',
    "labels": 'masks: {labels: "labels/{Half}.png", classes: [background, left_lung, right_lung],'
    " values: {0: background, 100: left_lung, 200: right_lung}, kind: manual}",
    "rle": "masks: {rle: {left_lung: left, right_lung: right}, height: H, width: W}",
    "rle of the image's size": "masks: {rle: {left_lung: left, right_lung: right}}",
}


@pytest.mark.parametrize("masks", ALL_MASKS.values(), ids=ALL_MASKS)
def test_masks_of_every_kind_become_the_same_dataset(tmp_path, masks):
    dataset(tmp_path)
    data = prepared(tmp_path, FILES + masks)
    assert data.class_names == ("background", "left_lung", "right_lung")
    assert data.records["mask_kind"].tolist() == ["", *["manual"] * 7]
    assert data.records["sex"].tolist() == ["M", "F"] * 4
    assert set(data.records["split"]) == {"train", "manual"}
    left, _ = lungs()
    mask = np.asarray(data.masks[1])
    assert mask[16, 24] == 1  # the patient's left is on the image's right
    assert mask[16, 8] == 2
    assert (mask == 1).mean() == pytest.approx((left > 0).mean() * 40 / 48, rel=0.15)


def test_masks_going_down_columns(tmp_path):
    dataset(tmp_path)
    path = tmp_path / "t.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    left, right = lungs()
    frame["left"], frame["right"] = encode(left.T), encode(right.T)
    frame.to_csv(path, index=False)
    data = prepared(tmp_path, FILES + "masks: {rle: {left_lung: left, right_lung: right}, order: columns}")
    assert np.asarray(data.masks[1])[16, 24] == 1


def test_run_lengths_of_another_size(tmp_path):
    path = dataset(tmp_path)
    path.write_text(path.read_text().replace(",40,48,", ",48,40,"))
    with pytest.raises(DataError, match=r"1\.png: the run lengths speak of 48 x 40 px .* the image has 40 x 48"):
        prepared(tmp_path, FILES + ALL_MASKS["rle"])
    path.write_text(path.read_text().replace(",48,40,", ",tall,40,"))
    with pytest.raises(DataError, match="line 3: H is 'tall' and W is '40', expected pixels"):
        prepared(tmp_path, FILES + ALL_MASKS["rle"])


def test_missing_mask_files_are_errors_unless_optional(tmp_path):
    dataset(tmp_path)
    (tmp_path / "masks/3_l.png").unlink()
    (tmp_path / "masks/3_r.png").unlink()
    with pytest.raises(
        DataError, match=r"(?s)2 problems.*line 5: mask masks/\{Half\}_l.png 'masks/3_l.png' is missing"
    ):
        prepared(tmp_path, FILES + ALL_MASKS["files"])
    optional = ALL_MASKS["files"].replace("masks: {", "masks: {optional: true, ")
    assert prepared(tmp_path, FILES + optional).records["mask_kind"].tolist()[3] == ""
    (tmp_path / "masks/4_l.png").unlink()
    with pytest.raises(DataError, match=r"line 6: .*_l.png is missing while others are there"):
        prepared(tmp_path, FILES + optional, overwrite=True)


def test_the_quality_of_the_table_is_kept(tmp_path):
    dataset(tmp_path)
    data = prepared(tmp_path, "  \n" + FILES + ALL_MASKS["labels"] + "\nconstants: {mask_quality: '0.5'}\n")
    assert data.records["mask_quality"].tolist()[1:] == [0.5] * 7


def test_the_split_rules_of_a_mapping(tmp_path):
    dataset(tmp_path, 40)
    rules = (
        "split: {unit: patient_id, test: 0.3, val: 0.2, seed: 1}\n"
        "published_split: {unit: image, test: 0.3, val: 0.2, seed: 1}\n"
    )
    by_patient = prepared(tmp_path, FILES + rules).records
    assert by_patient.groupby("patient_id")["split"].nunique().max() == 1
    with pytest.warns(UserWarning, match="published split has"):
        leaky = prepared(tmp_path, FILES + rules, split="published", out=tmp_path / "leaky")
    shared = int((leaky.records.groupby("patient_id")["split"].nunique() > 1).sum())
    assert shared > 0
    assert leaky.meta["fingerprint"]["source"]["shared_patients"] == shared
    assert leaky.meta["fingerprint"]["source"]["split"] == "published"
    with pytest.raises(DataError, match="the mapping gives a split"):
        prepared(tmp_path, FILES + rules, manual="age>30", out=tmp_path / "other")


def test_a_split_of_the_table_that_divides_patients(tmp_path):
    path = dataset(tmp_path)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.assign(part=["train", "test"] * 4).to_csv(path, index=False)
    text = PLAIN.replace("age: Age", "age: Age, split: part")
    (tmp_path / "my.yaml").write_text(text + FILES)
    with pytest.raises(LeakError, match="4 patients have rows in several splits"):
        read_dataset(PublishedDataset("t", "t", "t"), path, mapping=load_mapping(tmp_path / "my.yaml"))


def test_images_that_are_missing(tmp_path):
    dataset(tmp_path)
    (tmp_path / "Male/2.png").unlink()
    with pytest.raises(DataError, match=r"(?s)1 of 8 files are missing in .*line 4: 'Male/2.png' is missing"):
        prepared(tmp_path, FILES)
    data = prepared(tmp_path, FILES, skip_bad=True)
    assert len(data) == 7
    assert "Male/2.png" in (tmp_path / "out/skipped.csv").read_text()


def test_the_first_file_that_exists_is_taken(tmp_path):
    dataset(tmp_path)
    Image.fromarray(radiograph(99)).save(tmp_path / "5.png")
    data = prepared(tmp_path, 'files: ["nowhere/{image}", "{image}", "{Dir}/{image}"]')
    assert len(data) == 8


@pytest.mark.parametrize("template", ["../{image}", "/{image}", "{Dir}/../../{image}"])
def test_templates_that_lead_out_of_the_root(tmp_path, template):
    (tmp_path / "root").mkdir()
    dataset(tmp_path / "root")
    for i in range(8):
        save(tmp_path / f"{i}.png", radiograph(i))
    with pytest.raises(DataError, match=r"line 2: .* leads out of"):
        prepared(tmp_path / "root", f'files: ["{template}"]')
