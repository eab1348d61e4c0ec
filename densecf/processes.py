"""Which of the processes that train together this one is, as torchrun, Slurm or Lightning say; no torch needed."""

from __future__ import annotations

import os


def process_rank() -> int:
    """0 for the first of the processes that train together, and for one that is alone; another number for others."""
    for name in ("RANK", "SLURM_PROCID"):
        if (rank := _number(name)) is not None:
            return rank
    # Processes that Lightning starts by itself on the first node, or that a person starts on others.
    return _number("LOCAL_RANK") or _number("NODE_RANK") or 0


def started_processes() -> tuple[int, int] | None:
    """(processes a node, nodes) that torchrun or srun started, this one among them; None where neither did."""
    if os.environ.get("TORCHELASTIC_RUN_ID"):
        world, local = _number("WORLD_SIZE") or 1, _number("LOCAL_WORLD_SIZE") or 1
        return local, max(1, world // local)
    # As Lightning has it: in an interactive job nobody has started anything yet.
    if (tasks := _number("SLURM_NTASKS")) and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = _number("SLURM_NNODES") or 1
        return max(1, tasks // nodes), nodes
    return None


def _number(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else None
