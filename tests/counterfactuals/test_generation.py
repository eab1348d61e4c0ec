"""Generation: the right image in the right row, one abduction a batch, and the same bytes after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densecf.counterfactuals.generation import PAPER, default_interventions, generate, unknown_parents
from densecf.counterfactuals.interventions import parse_interventions
from densecf.counterfactuals.parents import Parent, Parents, fit_parents
from densecf.data import PreparedDataset, prepare
from densecf.errors import ConfigError, DataError, DensecfError
from tests.conftest import ROOT
from tests.counterfactuals.fake import SIZE, FakeGenerator, FakeSource, expected

DO = ("scanner=other", "pleural_effusion=1", "scanner=B+pleural_effusion=other")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(FakeSource(), tmp_path_factory.mktemp("fake") / "data", size=SIZE, progress=False)


@pytest.fixture
def data(prepared, tmp_path):
    return PreparedDataset.open(shutil.copytree(prepared.path, tmp_path / "data"))


def asked(generator, texts=DO):
    return parse_interventions(texts, generator.scm.parents)


def stored_bytes(data, source="fake"):
    folder = data.path / "counterfactuals" / source
    return {name: (folder / f"{name}.npy").read_bytes() for name in data.counterfactuals[source]}


def test_every_record_gets_its_counterfactual(data, capsys):
    generator = FakeGenerator(data.records)
    interventions = asked(generator)
    made = generate(generator, data, interventions, batch_size=4, progress=False)
    assert made.counterfactuals["fake"] == tuple(i.name for i in interventions)
    assert made.counterfactuals["truth"] == ("scanner=other.1",)
    assert (made.status, made.checksum) == ("generated", data.checksum)
    for intervention in interventions:
        for row in range(len(data)):
            found = made.counterfactual("fake", intervention.name, row)
            if row in (5, 13):  # the scanner is unknown
                np.testing.assert_array_equal(found, data.image(row))
            else:
                np.testing.assert_allclose(found, expected(data, generator, intervention, row), atol=1e-5)
                assert "other" not in intervention.name or np.abs(found - data.image(row)).mean() > 0.02
    made.verify()
    assert made.meta["counterfactuals"]["fake"]["provenance"] == {
        "model": "fake",
        "weights_sha256": "abc",
        "records_kept_real": 2,
        "unknown_parents": {"scanner": 2, "pleural_effusion": 1},
    }
    shown = capsys.readouterr().out
    assert "2 of 22 records have parents that the model does not know (scanner in 2, pleural_effusion in 1)" in shown
    assert "images a second" in shown


def test_one_abduction_and_one_prediction_a_batch(data):
    generator = FakeGenerator(data.records)
    interventions = asked(generator)
    assert len(interventions) == 4  # three scanners have two others
    generate(generator, data, interventions, batch_size=6, progress=False)
    assert generator.abducted == 20
    assert generator.calls == [(4, 5), (4, 6), (4, 5), (4, 4)]


def test_a_record_that_has_the_value_already_keeps_its_image_to_the_bit(data, capsys):
    generator = FakeGenerator(data.records)
    generator.predict = lambda abducted, parents: (abducted[0] * 0.5).expand(len(parents), *abducted[0].shape)
    made = generate(generator, data, asked(generator, ["scanner=B"]), progress=False)
    same = (data.records["scanner"].isin(["B", ""])).to_numpy()
    stored = np.load(made.path / "counterfactuals/fake/scanner=B.npy")
    np.testing.assert_array_equal(stored[same], data.images[same])
    assert (stored[~same] < data.images[~same]).any(axis=(1, 2)).all()
    assert generator.abducted == (~same).sum()
    assert f"{same.sum() - 2} images are the real ones" in capsys.readouterr().out


@settings(max_examples=15)
@given(st.integers(1, 30))
def test_the_batch_size_does_not_matter(prepared, tmp_path_factory, batch_size):
    data = PreparedDataset.open(shutil.copytree(prepared.path, tmp_path_factory.mktemp("batch") / "data"))
    generator = FakeGenerator(data.records)
    for size, source in ((batch_size, "one"), (7, "two")):
        data = generate(generator, data, asked(generator), batch_size=size, source=source, progress=False)
    assert stored_bytes(data, "one") == stored_bytes(data, "two")


def test_interventions_can_be_added_and_are_not_made_twice(data, capsys):
    generator = FakeGenerator(data.records)
    first = generate(generator, data, asked(generator, ["scanner=B"]), progress=False)
    before = stored_bytes(first)
    again = generate(generator, first, asked(generator, ["scanner=B"]), progress=False)
    assert (again.status, stored_bytes(again)) == ("reused", before)
    count = generator.abducted
    more = generate(generator, data, asked(generator, ["scanner=B", "pleural_effusion=other"]), progress=False)
    assert more.counterfactuals["fake"] == ("scanner=B", "pleural_effusion=other")
    assert generator.abducted == count + 20
    assert stored_bytes(more)["scanner=B"] == before["scanner=B"]
    assert "Stored already by this model: fake/scanner=B" in capsys.readouterr().out


def test_another_model_replaces_on_demand_only(data):
    generator, other = FakeGenerator(data.records), FakeGenerator(data.records, weights="xyz")
    first = generate(generator, data, asked(generator, ["scanner=B", "scanner=C"]), progress=False)
    with pytest.raises(DataError, match=r"fake/scanner=B, scanner=C were made by another model.*--overwrite"):
        generate(other, data, asked(other, ["scanner=B"]), progress=False)
    assert not other.abducted
    assert stored_bytes(PreparedDataset.open(data.path)) == stored_bytes(first)
    replaced = generate(other, data, asked(other, ["scanner=B"]), overwrite=True, progress=False)
    assert replaced.counterfactuals["fake"] == ("scanner=B",)
    assert sorted(p.name for p in (data.path / "counterfactuals/fake").iterdir()) == ["scanner=B.npy"]
    replaced.verify()


def test_what_is_stored_stays_until_the_new_is_whole(data):
    generator = FakeGenerator(data.records)
    first = generate(generator, data, asked(generator, ["scanner=B"]), progress=False)
    before = stored_bytes(first)
    failing = FakeGenerator(data.records, weights="xyz")
    failing.predict = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        generate(failing, data, asked(failing, ["scanner=B"]), overwrite=True, progress=False)
    assert stored_bytes(PreparedDataset.open(data.path)) == before


def fails_at(generator, batch):
    """Lets the generator fail in a batch, once."""
    predict, calls = generator.predict, iter(range(1000))

    def sometimes(*arguments):
        if next(calls) == batch:
            raise KeyboardInterrupt
        return predict(*arguments)

    generator.predict = sometimes


def test_what_is_finished_is_not_made_again(data):
    generator = FakeGenerator(data.records)
    fails_at(generator, 3)
    with pytest.raises(KeyboardInterrupt):
        generate(generator, data, asked(generator), batch_size=4, progress=False)
    generator.abducted = 0
    done = generate(generator, data, asked(generator), batch_size=4, progress=False)
    assert done.status == "resumed"
    assert generator.abducted == sum(row not in (5, 13) for row in range(12, 22))
    assert stored_bytes(done) == stored_bytes(
        generate(generator, data, asked(generator), source="whole", progress=False), "whole"
    )


@pytest.mark.parametrize("change", ["weights", "interventions", "batch size", "array", "journal"])
def test_another_plan_or_spoilt_rows_are_made_again(data, change):
    generator = FakeGenerator(data.records)
    fails_at(generator, 3)
    with pytest.raises(KeyboardInterrupt):
        generate(generator, data, asked(generator), batch_size=4, progress=False)
    partial = data.path / "counterfactuals/.fake.partial"
    second = FakeGenerator(data.records, weights="xyz" if change == "weights" else "abc")
    interventions = asked(second, DO[:2] if change == "interventions" else DO)
    rows = 20
    if change == "array":  # as a power cut may leave it: the second block is lost
        with open(partial / "pleural_effusion=1.npy", "r+b") as file:
            file.seek(128 + 5 * SIZE * SIZE * 2)
            file.write(bytes(100))
        rows = sum(row not in (5, 13) for row in range(4, 22))
    if change == "journal":
        (partial / "journal.jsonl").write_bytes((partial / "journal.jsonl").read_bytes()[:-3])
        rows = sum(row not in (5, 13) for row in range(8, 22))
    done = generate(second, data, interventions, batch_size=3 if change == "batch size" else 4, progress=False)
    assert second.abducted == rows
    whole = generate(second, data, interventions, source="whole", progress=False)
    assert stored_bytes(done) == stored_bytes(whole, "whole")
    assert not partial.exists()


def test_a_kill_while_the_arrays_are_put_in_place_costs_nothing(data, monkeypatch):
    generator = FakeGenerator(data.records)
    moved = []

    def once(new, target):
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        os.replace(new, target)

    with monkeypatch.context() as patch:
        patch.setattr("densecf.data.counterfactual_arrays.replace_file", once)
        (data.path / "counterfactuals/fake").mkdir()
        with pytest.raises(KeyboardInterrupt):
            generate(generator, data, asked(generator), batch_size=4, progress=False)
    assert "fake" not in PreparedDataset.open(data.path).counterfactuals
    generator.abducted = 0
    done = generate(generator, data, asked(generator), batch_size=4, progress=False)
    assert generator.abducted == 0
    done.verify()
    whole = generate(generator, data, asked(generator), source="whole", progress=False)
    assert stored_bytes(done) == stored_bytes(whole, "whole")


KILLED = """
import sys
from densecf.counterfactuals.generation import generate
from densecf.counterfactuals.interventions import parse_interventions
from densecf.data import PreparedDataset
from tests.counterfactuals.fake import FakeGenerator
data = PreparedDataset.open(sys.argv[1])
generator = FakeGenerator(data.records, pause=float(sys.argv[2]))
interventions = parse_interventions(["scanner=other", "pleural_effusion=other"], generator.scm.parents)
generate(generator, data, interventions, batch_size=2, progress=False)
print("abducted", generator.abducted)
"""


def test_sigkill_and_resume_give_the_bytes_of_an_uninterrupted_run(data):
    def start(pause):
        command = [sys.executable, "-c", KILLED, str(data.path), str(pause)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    journal = data.path / "counterfactuals/.fake.partial/journal.jsonl"
    for blocks in (2, 5):  # killed twice
        process = start(0.15)
        deadline = time.monotonic() + 120
        while not (journal.is_file() and len(journal.read_text().split()) >= 3 * 2 * blocks):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert "fake" not in PreparedDataset.open(data.path).counterfactuals
    rows = max(json.loads(line)["row"] for line in journal.read_text().splitlines() if line.endswith("}")) + 2
    last = start(0)
    shown = last.communicate(timeout=120)[0]
    assert last.returncode == 0
    known = sum(row not in (5, 13) for row in range(rows, 22))
    assert f"abducted {known}\n" in shown
    assert f"{rows} records were there from before" in shown
    done = PreparedDataset.open(data.path)
    done.verify()
    generator = FakeGenerator(data.records)
    interventions = asked(generator, ["scanner=other", "pleural_effusion=other"])
    whole = generate(generator, data, interventions, batch_size=2, source="whole", progress=False)
    assert stored_bytes(done) == stored_bytes(whole, "whole")


def test_a_full_disk_leaves_nothing_behind(data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    generator = FakeGenerator(data.records)
    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", full)
        with pytest.raises(DensecfError, match="the disk is full"):
            generate(generator, data, asked(generator), progress=False)
    assert not list(data.path.glob("counterfactuals/.fake*"))
    assert generate(generator, data, asked(generator), progress=False).counterfactuals["fake"]


def test_two_processes_do_not_write_the_same_source(data):
    generator, second = FakeGenerator(data.records), FakeGenerator(data.records)

    def meanwhile(*_):
        return generate(second, data, asked(second), progress=False)

    generator.predict = meanwhile
    with pytest.raises(DensecfError, match="another process is making the counterfactuals fake"):
        generate(generator, data, asked(generator), progress=False)


def test_predictions_out_of_range_name_the_row(data):
    generator = FakeGenerator(data.records)
    generator.predict = lambda abducted, parents: (abducted[0] + 1).expand(len(parents), *abducted[0].shape)
    with pytest.raises(DataError, match=r"fake/scanner=other\.1, row 0: values from .* expected 0 to 1"):
        generate(generator, data, asked(generator), progress=False)


def test_requests_that_do_not_fit(data):
    generator = FakeGenerator(data.records)
    for interventions in ((), asked(generator, ["scanner=B"]) * 2):
        with pytest.raises(ConfigError, match="each once"):
            generate(generator, data, interventions, progress=False)
    with pytest.raises(ConfigError, match="prepare the data with --size 32"):
        generate(FakeGenerator(data.records, size=32), data, asked(generator), progress=False)
    with pytest.raises(ConfigError, match="batch size"):
        generate(generator, data, asked(generator), batch_size=0, progress=False)
    foreign = FakeGenerator(data.records.assign(scanner=[f"S{i % 2}" for i in range(len(data))]))
    with pytest.raises(DataError, match="no record has parents that the model knows; unknown are scanner in 22"):
        generate(foreign, data, asked(foreign, ["scanner=other"]), progress=False)
    absent = FakeGenerator(data.records.assign(vendor=data.records["scanner"]), ("vendor",))
    with pytest.raises(DataError, match="no column 'vendor'"):
        generate(absent, data, asked(absent, ["vendor=other"]), progress=False)
    assert not list(data.path.glob("counterfactuals/.*"))


def test_unknown_may_be_a_category(data):
    generator = FakeGenerator(data.records, ("scanner", "age"), missing="category")
    made = generate(generator, data, asked(generator, ["scanner=B", "age=50"]), progress=False)
    assert made.meta["counterfactuals"]["fake"]["provenance"]["records_kept_real"] == 0
    assert not np.array_equal(made.counterfactual("fake", "scanner=B", 5), data.image(5))


def test_values_never_seen_in_training_are_unknown(data):
    seen = data.records["scanner"].isin(["A", "B"])
    parents, _ = fit_parents(data.records[seen], ["scanner", "age"])
    found = unknown_parents(data.records.assign(age=data.records["age"].where(data.records["age"] < 40)), parents)
    np.testing.assert_array_equal(found["scanner"], ~seen)
    np.testing.assert_array_equal(found["age"], np.arange(22) >= 20)


def test_default_interventions():
    scanner = Parent("scanner", "categorical", ("A", "B", "C"))
    effusion = Parent("pleural_effusion", "binary", ("0", "1"))
    sex, age = Parent("sex", "binary", ("F", "M")), Parent("age", "continuous", mean=50, std=10)
    assert default_interventions(Parents((scanner, sex, effusion, age))) == PAPER
    assert default_interventions(Parents((scanner, sex, age))) == ("scanner=other", "sex=other")
    with pytest.raises(ConfigError, match="--do age=60"):
        default_interventions(Parents((age,)))
