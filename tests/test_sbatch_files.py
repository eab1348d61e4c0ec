"""The files for Slurm: bash reads them, and the real command line takes what they call."""

import re
import shlex
import shutil
import subprocess

import pytest

from densecf import cli
from tests.conftest import ROOT

FILES = sorted((ROOT / "configs/slurm").glob("*.sbatch"))


def calls(text: str) -> list[list[str]]:
    """The words after every ``srun``, with the defaults of the file's own variables for their values."""
    known: dict[str, str] = {}
    for name, default in re.findall(r"^(\w+)=\$\{\1:-(.*)\}$", text, re.M):
        known[name] = re.sub(r"\$(\w+)", lambda found: known[found[1]], default)
    lines = text.replace("\\\n", " ").splitlines()
    filled = [re.sub(r"\$\{?(\w+)\}?", lambda found: known[found[1]], line) for line in lines if "srun " in line]
    return [shlex.split(line)[1:] for line in filled if not line.startswith("#")]


def directives(text: str) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.M))


def test_there_is_one_for_pretraining():
    assert "pretrain.sbatch" in [path.name for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_bash_reads_it(path):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    done = subprocess.run([bash, "-n", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_text().startswith("#!/bin/bash\n")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_commands_are_densecf_commands(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = calls(path.read_text())
    assert found
    for words in found:
        assert words[:3] == ["--kill-on-bad-exit=1", "densecf", "pretrain"]
        if "--resume" in words:  # which takes its options from the run
            run = tmp_path / words[words.index("--out") + 1]
            run.mkdir(parents=True)
            (run / "config.yaml").write_text("method: dvd-cl\n")
            (run / "provenance.json").write_text('{"command": "pretrain"}')
            assert cli.parse("pretrain", words[3:]).config.method == "dvd-cl"
        else:
            options = cli.parse("pretrain", words[3:])
            assert options.config.hardware.devices == "auto"  # and so as many as Slurm started
            assert options.run.out is not None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_one_task_a_gpu_with_a_core_for_every_loader(path):
    asked = directives(path.read_text())
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
    assert asked["job-name"] not in ("bash", "interactive")
    for words in calls(path.read_text()):
        workers = int(words[words.index("--hardware.workers") + 1])
        assert workers + 1 == int(asked["cpus-per-task"])
