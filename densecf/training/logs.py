"""What a training tells while it runs: ``metrics.jsonl`` and a progress bar."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from densecf.files import write_text_atomic


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a ``metrics.jsonl``; a line cut by a kill is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def forget_after(path: Path, step: int) -> None:
    """Drops what a killed training wrote beyond the step it resumes from, so that nothing stands twice."""
    kept = [row for row in read_metrics(path) if row["step"] < step]
    write_text_atomic(path, "".join(_line(row) for row in kept))


def measured(metrics: dict[str, Any]) -> dict[str, Any]:
    """Those metrics that are numbers: not None, NaN or infinite, which JSON and TensorBoard have no place for."""
    return {key: value for key, value in metrics.items() if value is not None and math.isfinite(value)}


def _line(row: dict[str, Any]) -> str:
    step = {"step": row["step"]}
    facts = {key: value for key, value in row.items() if key != "step"}
    return json.dumps(step | measured(facts), allow_nan=False) + "\n"


class JsonlLogger(Logger):
    """One JSON object a line: ``{"step": 10, "loss": 2.3, ...}``."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "jsonl"

    @property
    def version(self) -> str:
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        return self.path

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The config is in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        facts = {key: value for key, value in metrics.items() if key != "epoch"}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line({"step": step, **facts}))


def report(module: LightningModule, step: int, metrics: dict[str, Tensor]) -> None:
    """Writes one line of metrics, and shows the loss beside the bar. A host sync: for some steps only.

    Lightning's own logging would repeat the last values at every step in between.
    """
    values = {key: float(value) for key, value in metrics.items()}
    module.log("loss", values["loss"], prog_bar=True, logger=False)
    for logger in module.loggers:
        logger.log_metrics(values, step)


class ProgressBar(TQDMProgressBar):
    """Lightning's bar over the whole training, with the loss and the rate.

    Args:
        title: what is trained.
        work_per_step: pixels (or images) that one step of one process learns from.
        unit: which of them.
    """

    def __init__(self, title: str, work_per_step: int, unit: str = "pixels"):
        super().__init__(refresh_rate=5 if sys.stderr.isatty() else 100)  # a log file wants fewer lines
        self.title, self.work_per_step, self.unit = title, work_per_step, unit

    def init_train_tqdm(self) -> Tqdm:
        # On stderr as all bars; Lightning's is on stdout, where results are printed.
        return Tqdm(desc=self.title, disable=self.is_disabled, dynamic_ncols=True, smoothing=0)

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(self.title)
        # Lightning starts the bar at 0; a resumed training has some of its way behind it.
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        self.train_progress_bar.initial = self.train_progress_bar.n = done

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown = {key: value for key, value in super().get_metrics(trainer, pl_module).items() if key != "v_num"}
        bar = self.train_progress_bar.format_dict
        steps = bar["n"] - bar["initial"]
        if not steps or not bar["elapsed"]:
            return shown
        return shown | {f"{self.unit}/s": f"{steps / bar['elapsed'] * self.work_per_step:,.0f}"}
