"""Run folders: found by name, path or "latest"; never overwritten by accident."""

import errno
import json
import os
import subprocess
import sys

import pytest

from densecf import runs
from densecf.errors import ConfigError, DensecfError


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def finished(name: str):
    path = runs.start_run("pretrain", name, {"epochs": 1})
    runs.finish_run(path, "pretrain", steps=3)
    return path


def test_a_run_tells_what_made_it():
    path = finished("a")
    facts = json.loads((path / "provenance.json").read_text())
    assert {"command", "densecf", "packages", "argv", "started", "finished", "steps"} <= facts.keys()
    assert runs.read_config(path) == {"epochs": 1}
    assert runs.is_finished(path)


def test_latest_is_the_newest_finished_run():
    finished("a")
    second = finished("b")
    runs.start_run("pretrain", "c", {})
    assert runs.find_run("pretrain", "latest") == second.resolve()


def test_a_place_where_latest_cannot_be_written_is_named(tmp_path, monkeypatch):
    """--out may be elsewhere while the working folder is read-only."""
    path = runs.start_run("pretrain", "a", {}, out=tmp_path / "out")

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    with pytest.raises(DensecfError, match="latest cannot be written"):
        runs.finish_run(path, "pretrain")
    assert runs.is_finished(path)


def test_names_are_never_used_twice():
    assert [runs.start_run("pretrain", "a", {}).name for _ in range(3)] == ["a", "a-2", "a-3"]


def test_runs_are_found_by_name_and_by_path(tmp_path):
    path = finished("a")
    assert runs.find_run("pretrain", "a") == runs.find_run("pretrain", str(path)) == path.resolve()
    with pytest.raises(ConfigError, match=r"runs under runs/pretrain: a"):
        runs.find_run("pretrain", "b")


def test_latest_that_is_gone_falls_back_to_what_is_there(tmp_path):
    path = finished("a")
    elsewhere = runs.start_run("pretrain", "", {}, out=tmp_path / "elsewhere")
    runs.finish_run(elsewhere, "pretrain")
    assert runs.find_run("pretrain", "latest") == elsewhere
    elsewhere.rename(tmp_path / "moved")
    assert runs.find_run("pretrain", "latest") == path.resolve()


def test_a_run_of_another_command_is_refused():
    path = finished("a")
    with pytest.raises(ConfigError, match="a pretrain run, and a finetune run is needed"):
        runs.find_run("finetune", str(path))


@pytest.mark.parametrize("name", ["", ".", "..", "latest", "none", "a/b", "../evil"])
def test_names_that_would_lead_elsewhere(name):
    with pytest.raises(ConfigError, match="plain folder name"):
        runs.start_run("pretrain", name, {})


def test_no_run_at_all():
    with pytest.raises(ConfigError, match="run `densecf pretrain` first"):
        runs.find_run("pretrain", "latest")


def test_out_is_replaced_only_when_asked(tmp_path):
    out = tmp_path / "here"
    runs.start_run("pretrain", "", {"a": 1}, out=out)
    (out / "extra").write_text("x")
    with pytest.raises(ConfigError, match="--overwrite"):
        runs.start_run("pretrain", "", {}, out=out)
    assert (out / "extra").exists()
    runs.start_run("pretrain", "", {"a": 2}, out=out, overwrite=True)
    assert runs.read_config(out) == {"a": 2}
    assert not (out / "extra").exists()


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    with pytest.raises(ConfigError, match="left alone"):
        runs.start_run("pretrain", "", {}, out=tmp_path / "photos", overwrite=True)
    assert (tmp_path / "photos" / "cat.png").exists()
    finished("a")
    with pytest.raises(ConfigError, match="holds a pretrain run"):
        runs.start_run("finetune", "", {}, out=runs.ROOT / "pretrain" / "a", overwrite=True)


def test_weights_of_an_unfinished_run_name_the_command_that_a_shell_takes(tmp_path):
    folder = tmp_path / "my runs"
    folder.mkdir()
    with pytest.raises(ConfigError) as error:
        runs.weights_of(folder)
    assert str(error.value).endswith(f"--resume --out '{folder}'")


def test_resume_takes_the_newest_unfinished_run(tmp_path):
    finished("a")
    with pytest.raises(ConfigError, match="no unfinished"):
        runs.unfinished_run("pretrain", None)
    path = runs.start_run("pretrain", "b", {})
    assert runs.unfinished_run("pretrain", None) == path
    assert runs.unfinished_run("pretrain", path) == path
    with pytest.raises(ConfigError, match="no run to resume"):
        runs.unfinished_run("pretrain", tmp_path / "nothing")
    with pytest.raises(ConfigError, match="not a finetune run"):
        runs.unfinished_run("finetune", path)


def test_a_folder_has_one_writer():
    path = runs.start_run("pretrain", "a", {})
    code = (
        "import sys; from pathlib import Path; from densecf import runs; from densecf.errors import DensecfError\n"
        "try:\n    with runs.working_in(Path(sys.argv[1])): print('in')\nexcept DensecfError as e: print(e)"
    )

    def other() -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        ).stdout

    with runs.working_in(path):
        assert "another process" in other()
    assert other().strip() == "in"


def test_damaged_provenance_is_named():
    path = finished("a")
    (path / "provenance.json").write_text("{")
    with pytest.raises(ConfigError, match=r"provenance\.json"):
        runs.find_weights(str(path)) if runs.is_finished(path) else None


def test_a_refusal_before_training_leaves_nothing():
    path = runs.start_run("pretrain", "a", {})
    with pytest.raises(ConfigError), runs.working_in(path):
        raise ConfigError("no")
    assert not path.exists()


def test_a_replaced_run_comes_back_when_the_new_one_is_refused(tmp_path):
    out = runs.start_run("pretrain", "", {"a": 1}, out=tmp_path / "here")
    (out / "weights.safetensors").write_text("old")
    runs.start_run("pretrain", "", {"a": 2}, out=out, overwrite=True)
    with pytest.raises(ConfigError), runs.working_in(out):
        raise ConfigError("no")
    assert (out / "weights.safetensors").read_text() == "old"
    runs.start_run("pretrain", "", {"a": 3}, out=out, overwrite=True)
    with runs.working_in(out):
        (out / "metrics.jsonl").write_text("")
    assert [p.name for p in tmp_path.iterdir()] == ["here"]
    assert runs.read_config(out) == {"a": 3}


def test_ctrl_c_before_training_brings_a_replaced_run_back_and_keeps_a_new_one(tmp_path):
    out = runs.start_run("evaluate", "", {"a": 1}, out=tmp_path / "here")
    with pytest.raises(KeyboardInterrupt), runs.working_in(out):
        raise KeyboardInterrupt
    assert runs.read_config(out) == {"a": 1}
    runs.start_run("evaluate", "", {"a": 2}, out=out, overwrite=True)
    with pytest.raises(KeyboardInterrupt), runs.working_in(out):
        raise KeyboardInterrupt
    assert runs.read_config(out) == {"a": 1}


def test_a_resumed_run_stays_when_it_cannot_go_on():
    path = runs.start_run("pretrain", "a", {})
    with pytest.raises(ConfigError), runs.working_in(path, resumed=True):
        raise ConfigError("no such GPU")
    assert runs.is_run(path)


def test_latest_does_not_ask_other_runs():
    finished("a")
    (runs.start_run("pretrain", "b", {}) / "provenance.json").write_text("{")
    assert runs.find_run("pretrain", "latest").name == "a"


def test_a_run_that_is_being_written_is_not_replaced(tmp_path):
    out = runs.start_run("pretrain", "", {}, out=tmp_path / "here")
    with runs.working_in(out), pytest.raises(DensecfError, match="another process"):
        runs.start_run("pretrain", "", {}, out=out, overwrite=True)


def test_a_failure_after_training_began_keeps_the_run():
    path = runs.start_run("pretrain", "a", {})
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError), runs.working_in(path):
        raise ConfigError("disk full")
    assert runs.is_run(path)


def test_a_resumed_run_must_find_what_it_was_started_with():
    path = runs.start_run("pretrain", "a", {}, provenance={"dataset_checksum": "1"})
    runs.check_unchanged(path, dataset_checksum="1")
    with pytest.raises(ConfigError, match="dataset_checksum changed"):
        runs.check_unchanged(path, dataset_checksum="2")


@pytest.mark.parametrize("left", [".provenance.99b1a250.partial.json", ".config.0a1b2c3d.partial.yaml"])
def test_a_folder_whose_first_file_was_cut_off_by_a_kill_is_used_again(left, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / left).write_text("{")
    path = runs.start_run("evaluate", "a", {}, out=out)
    assert runs.is_run(path)
    assert not (path / left).exists()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".provenance.mine.json").write_text("{")
    with pytest.raises(ConfigError, match="left alone"):
        runs.start_run("evaluate", "a", {}, out=tmp_path / "out")


def test_a_run_is_announced_while_it_trains_and_no_longer(tmp_path):
    def train() -> None:
        with runs.announced(tmp_path):
            assert str(tmp_path.resolve()) in os.environ.values()
            raise RuntimeError

    before = dict(os.environ)
    with pytest.raises(RuntimeError):
        train()
    assert dict(os.environ) == before
