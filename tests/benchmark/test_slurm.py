from pathlib import Path

import pytest

from densecf.benchmark.slurm import array_script, report_script, submit
from densecf.errors import ConfigError

COMMAND = ("python", "-m", "densecf", "benchmark", "my matrix.yaml", "--only")


def test_a_task_of_the_array_is_a_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = array_script(COMMAND, [0, 3, 4], Path("logs"), ["partition=gpu", "exclusive"], {"WORD": "two words"})
    assert script.splitlines() == [
        "#!/bin/bash",
        "#SBATCH --job-name=densecf-cells",
        "#SBATCH --output=logs/slurm-%A-%a.out",
        f"#SBATCH --chdir={tmp_path}",
        "#SBATCH --partition=gpu",
        "#SBATCH --exclusive",
        "#SBATCH --array=0,3,4",
        "",
        "export WORD='two words'",
        "exec python -m densecf benchmark 'my matrix.yaml' --only \"$SLURM_ARRAY_TASK_ID\"",
    ]


@pytest.mark.parametrize("option", ["--partition=gpu", "array=1-3", "dependency=x", "time=1 partition=gpu", "output=x"])
def test_options_that_cannot_be(option):
    with pytest.raises(ConfigError, match="--sbatch"):
        report_script(COMMAND, Path("logs"), [option])


def test_without_slurm_the_scripts_are_left_to_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError) as error:
        submit(tmp_path / "out", "cells", "report")
    for name, text in (("cells", "cells"), ("report", "report")):
        path = tmp_path / "out" / f"{name}.sbatch"
        assert path.read_text() == text
        assert str(path) in str(error.value)


def test_cells_alone_need_no_report(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 12\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert submit(tmp_path / "out", "cells", "") == ("12", "")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cells.sbatch"]


def test_a_refusal_of_slurm_is_told(tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho invalid partition >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ConfigError, match=r"refuses .*cells\.sbatch: invalid partition"):
        submit(tmp_path, "cells", "report")
