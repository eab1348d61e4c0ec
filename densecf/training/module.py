"""What every pretraining module offers: it trains, starts from other weights, and writes its own."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

from torch import Tensor

from densecf.config import PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.methods import METHODS
from densecf.training.logs import report
from densecf.training.loop import check_finite
from densecf.training.optim import TrainingModule


class PretrainingModule(TrainingModule):
    """A network and the loss that pretrains it.

    Args:
        config: all options of the run.
        updates: changes of the weights in the whole training.
    """

    def __init__(self, config: PretrainConfig, updates: int):
        super().__init__(config.optim, updates)
        self.config, self.method = config, METHODS[config.method]

    @abstractmethod
    def start_from(self, weights: Path) -> str:
        """Loads the weights of another run, and says what was loaded.

        Raises:
            CheckpointError: naming the file and what does not fit.
        """

    @abstractmethod
    def save(self, out: Path, data: PreparedDataset) -> None:
        """Writes ``weights.safetensors`` and what belongs to it into the run folder."""

    def report(self, step: int, loss: Tensor, facts: dict[str, Tensor]) -> None:
        """One line of metrics; a host sync, so for some steps only."""
        check_finite(loss, step)
        report(self, step, {"loss": loss, **facts, "lr": self.trainer.optimizers[0].param_groups[-1]["lr"]})
