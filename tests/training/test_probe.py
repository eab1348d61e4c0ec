"""Looking at the embeddings while a network pretrains."""

import copy
import json
import warnings
from types import SimpleNamespace

import numpy as np
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from densecf.data.prepared import PreparedDataset
from densecf.models.unet import build_unet
from densecf.runs import METRICS
from densecf.training.logs import JsonlLogger
from densecf.training.probe import EmbeddingMonitor


def test_empty_masks_end_no_training(phantom, tmp_path):
    """One mask is not empty, and the network tells no pixel from another: the probe finds no foreground anywhere."""
    rows = list(range(10))
    data = copy.copy(PreparedDataset.open(phantom))
    data.masks = np.zeros_like(data.masks)
    data.masks[rows[0], :4] = 1
    unet = build_unet("resnet18", (8, 8, 8, 8, 8))
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.zero_()
    module = nn.ModuleDict({"unet": unet, "head": nn.Identity()})
    loggers = [JsonlLogger(tmp_path / METRICS), TensorBoardLogger(tmp_path, name="", version="tensorboard")]
    trainer = SimpleNamespace(num_training_batches=1, is_global_zero=True, loggers=loggers)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        EmbeddingMonitor(data, rows, every=1, seed=0).on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]
    line = json.loads((tmp_path / METRICS).read_text())
    assert set(line) == {"step", "purity", "purity_floor", "d_over_std"}
