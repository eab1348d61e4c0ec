"""What a launcher says of the processes it started."""

import pytest

from densecf import cli
from densecf.commands.training_run import refuse_other_number
from densecf.config import HardwareConfig
from densecf.errors import ConfigError
from densecf.processes import process_rank, started_processes
from densecf.runs import join_run

NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "TORCHELASTIC_RUN_ID", "DENSECF_RUN")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_JOB_NAME", "SLURM_NTASKS_PER_NODE")
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_PROCID": "3", "SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "densecf-pretrain"}


@pytest.fixture
def told(monkeypatch):
    for name in NAMES + SLURM:
        monkeypatch.delenv(name, raising=False)

    def tell(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return tell


@pytest.mark.parametrize(
    ("variables", "rank", "started"),
    [
        ({}, 0, None),
        (TORCHRUN, 5, (4, 2)),
        (SRUN, 3, (8, 2)),
        (SRUN | TORCHRUN, 5, (4, 2)),  # one torchrun a node, started by srun
        (SRUN | {"SLURM_JOB_NAME": "interactive", "SLURM_PROCID": "0"}, 0, None),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, 1, None),  # started by Lightning
        ({"NODE_RANK": "1"}, 1, None),  # by hand, on the second node
    ],
)
def test_rank_and_number(told, variables, rank, started):
    told(variables)
    assert (process_rank(), started_processes()) == (rank, started)


def test_a_training_takes_the_processes_that_were_started(told):
    from densecf.training.loop import placement, world_size

    told(TORCHRUN)
    for hardware in (HardwareConfig(), HardwareConfig(devices=4), HardwareConfig(devices=4, num_nodes=2)):
        assert placement(hardware) == (4, 2)
        assert world_size(hardware) == 8
    for wrong in (HardwareConfig(devices=2), HardwareConfig(num_nodes=3)):
        with pytest.raises(ConfigError, match="4 processes on each of 2 node"):
            placement(wrong)


def test_without_a_launcher_the_options_decide(told):
    from densecf.training.loop import placement

    assert placement(HardwareConfig(accelerator="cpu")) == (1, 1)
    assert placement(HardwareConfig(accelerator="cpu", devices=3, num_nodes=2)) == (3, 2)


def test_other_commands_run_once(told, capsys):
    told(TORCHRUN)
    assert cli.main(["finetune", "--folds", "2"]) == 2
    assert "finetune runs in one process" in capsys.readouterr().err


@pytest.mark.parametrize("rank", ["0", "1"])
def test_all_processes_are_told_where_the_run_is(told, rank):
    """The first one as well, before it makes anything."""
    told(TORCHRUN | {"RANK": rank})
    with pytest.raises(ConfigError, match="--out"):
        join_run(None)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_several_processes_replace_no_run(told, tmp_path, rank):
    """The others could not tell the old run from the new one."""
    told(TORCHRUN | {"RANK": rank})
    with pytest.raises(ConfigError, match=r"remove .* first"):
        join_run(tmp_path, overwrite=True)


def test_the_first_process_waits_for_nobody(told, tmp_path):
    assert join_run(None) is None
    told(TORCHRUN | {"RANK": "0"})
    assert join_run(tmp_path) is None


def test_the_others_do_not_wait_for_ever(told, tmp_path):
    told(TORCHRUN)
    with pytest.raises(ConfigError, match="made no run here within 0 s"):
        join_run(tmp_path, seconds=0)


def test_a_run_goes_on_with_as_many_processes_as_before(tmp_path):
    (tmp_path / "provenance.json").write_text('{"processes": 2}')
    refuse_other_number(tmp_path, 2)
    with pytest.raises(ConfigError, match=r"started by 2 process\(es\), and 1 cannot"):
        refuse_other_number(tmp_path, 1)
    (tmp_path / "provenance.json").write_text("{}")  # of a run that did not note it
    refuse_other_number(tmp_path, 1)


def test_nobody_trains_when_the_run_is_finished(told, tmp_path):
    (tmp_path / "config.yaml").write_text("method: vader\n")
    (tmp_path / "provenance.json").write_text('{"command": "pretrain", "finished": "today"}')
    told(TORCHRUN)
    assert cli.main(["pretrain", "--resume", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "provenance.json"}
