"""The command line in a process of its own that starts at once: a fork of one that has imported what commands need."""

import os
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("lightning", "timm", "torchvision", "segmentation_models_pytorch", "matplotlib.pyplot", "umap"),
        *("densecf.training.pretrain", "densecf.training.finetune", "densecf.counterfactuals.training"),
        *("densecf.commands.chromap", "densecf.commands.evaluate", "densecf.commands.counterfactuals_evaluate"),
    ]
)


def run_forked(arguments: Sequence[str], folder: Path) -> CompletedProcess:
    """``densecf`` with these arguments in ``folder``, under this process's environment, as ``subprocess.run`` tells."""
    with TemporaryDirectory() as place:
        streams = Path(place) / "stdout", Path(place) / "stderr"
        process = _FORKS.Process(target=_become, args=(list(arguments), folder, dict(os.environ), *streams))
        process.start()
        process.join()
        said = [path.read_text(errors="replace") if path.exists() else "" for path in streams]
    return CompletedProcess(list(arguments), process.exitcode, *said)


def _become(arguments: list[str], folder: Path, environment: dict[str, str], out: Path, errors: Path) -> None:
    for number, path in ((1, out), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["densecf", *arguments]
    from densecf.cli import main

    sys.exit(main())
