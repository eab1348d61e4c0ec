"""Fine-tuning on hand-drawn masks: patient-grouped folds, last epoch, measured on the held-out fold.

    densecf finetune --folds 5                               # from the latest pretraining run
    densecf finetune --folds 5 --from none                   # the baseline: random weights
    densecf finetune --data data/lungs --where source=montgomery --train-cases 20

Nothing is selected on the held-out fold: its results are those after the last step. What it would have been on the
way (--test-every) is written beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.nn import functional as F

from densecf.config import FinetuneConfig, ModelConfig
from densecf.data.prepared import PreparedDataset
from densecf.data.splits import Folds, limit_cases
from densecf.errors import DataError
from densecf.evaluation.comparison import compare_cases
from densecf.evaluation.result_files import read_cases
from densecf.evaluation.segmentation import case_columns, case_metrics, summarise
from densecf.evaluation.tables import summary_markdown
from densecf.files import atomic_path, write_json_atomic, write_text_atomic
from densecf.models.device import best_device
from densecf.models.embed import predict_masks
from densecf.models.unet import build_unet, normalise
from densecf.models.weights import BACKBONE, WEIGHTS, load_pretrained, network_facts, read_facts, save_weights
from densecf.training.datasets import ViewDataset
from densecf.training.logs import report
from densecf.training.loop import CHECKPOINT, LOG_EVERY, check_finite, fit, world_size
from densecf.training.optim import TrainingModule
from densecf.training.sampler import StepPlan
from densecf.training.watching import CURVES, FoldWatcher, read_rows, write_rows
from densecf.views.geometry import IGNORE
from densecf.visualization.overlays import save_overlays

CASES = "cases.csv"
SUMMARY = "summary.json"
PREDICTIONS = "predictions.npy"
EXTERNAL, EXTERNAL_SUMMARY = "external_cases.csv", "external_summary.json"


def finetune(
    config: FinetuneConfig,
    data: PreparedDataset,
    records: pd.DataFrame,
    folds: Folds,
    out: Path,
    *,
    pretrained: Path | None,
    external: Sequence[int] = (),
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Trains and tests one network a fold; writes cases, curves, summary, predictions, weights and pictures.

    Args:
        records: the rows of ``data.records`` to train and test on.
        folds: who is held out when.
        out: the folder to write into.
        pretrained: run folder or weights file to start from; None for random weights.
        external: further rows, tested by the network of every fold.
        resume: finished folds are kept, the interrupted one continues from its checkpoint.

    Returns:
        The summary (see `densecf.evaluation.segmentation.summarise`).
    """
    tables: list[pd.DataFrame] = []
    others: list[pd.DataFrame] = []
    curves: list[dict[str, Any]] = []
    for number in range(folds.num_folds):
        folder = out / "folds" / str(number)
        if not (resume and (folder / CASES).is_file() and (folder / CURVES).is_file()):
            folder.mkdir(parents=True, exist_ok=True)
            run_fold(
                config,
                data,
                records,
                folds,
                number,
                folder,
                pretrained=pretrained,
                external=external,
                resume=resume,
                progress=progress,
            )
        tables.append(read_cases(folder / CASES))
        others += [read_cases(folder / EXTERNAL)] if len(external) else []
        curves += read_rows(folder / CURVES)
    cases = pd.concat(tables, ignore_index=True)
    summary = summarise(cases)
    with atomic_path(out / CASES) as temporary:
        cases.to_csv(temporary, index=False)
    write_rows(out / CURVES, curves)
    write_json_atomic(out / SUMMARY, summary)
    text = summary_markdown(summary, f"Fine-tuned from {pretrained or 'random weights'}")
    if others:
        everywhere = pd.concat(others, ignore_index=True)
        with atomic_path(out / EXTERNAL) as temporary:
            everywhere.to_csv(temporary, index=False)
        write_json_atomic(out / EXTERNAL_SUMMARY, summarise(everywhere))
        note = f"{len(external)} cases, each tested by the network of every fold."
        text += "\n" + summary_markdown(summarise(everywhere), f"On {config.external}", note=note)
    write_text_atomic(out / "summary.md", text)
    save_overlays(out / "overlays.png", cases, CaseLoader(data, records, folds, out))
    return summary


def run_fold(
    config: FinetuneConfig,
    data: PreparedDataset,
    records: pd.DataFrame,
    folds: Folds,
    number: int,
    out: Path,
    *,
    pretrained: Path | None,
    external: Sequence[int],
    resume: bool,
    progress: bool,
) -> None:
    """Trains on all folds but ``number`` and tests on it; ``cases.csv``, written last, says that it is done."""
    train, test = folds.train_rows(records, number), folds.test_rows(records, number)
    if config.train_cases:
        train = limit_cases(train, config.train_cases, config.seed, records)
    plan = StepPlan(
        tuple(train.tolist()), config.batch_size, config.epochs, seed=config.seed, world=world_size(config.hardware)
    )
    torch.manual_seed(config.seed)  # the weights that pretraining does not bring
    if pretrained is None:
        network = config.model
        unet = fresh_unet(network, len(data.class_names))
    else:
        brought = read_facts(pretrained)
        unet = load_pretrained(
            pretrained, classes=len(data.class_names), decoder_channels=config.model.decoder_channels
        )
        own = config.model.decoder_channels  # an image-level run brings none
        decoder = own if brought.get("kind") == BACKBONE else brought["decoder_channels"]
        network = replace(config.model, encoder=brought["encoder"], decoder_channels=decoder)
    module = Segmenter(unet, config, plan.updates)
    dataset = ViewDataset(data, config.views, seed=config.seed)

    def test_cases(unet: smp.Unet) -> pd.DataFrame:
        return measure(data, test, predict(data, test, unet), number)

    watcher = FoldWatcher(test_cases, out / CURVES, config.test_every, plan.steps_per_epoch)
    fit(
        module,
        dataset,
        plan,
        out,
        hardware=config.hardware,
        title=f"fold {number} of 0-{folds.num_folds - 1}",
        work_per_record=data.size**2,
        checkpoint_minutes=config.checkpoint_minutes,
        callbacks=[watcher],
        resume=resume,
        progress=progress,
    )
    if not module.trainer.is_global_zero:
        return
    unet.to(best_device(config.hardware.accelerator)).eval()  # Lightning leaves it on the CPU
    predictions = predict(data, test, unet)
    with atomic_path(out / PREDICTIONS) as temporary:
        np.save(temporary, predictions)
    save_weights(unet, out / WEIGHTS, network_facts("finetune", network, data))
    if len(external):
        rows = np.asarray(external)
        with atomic_path(out / EXTERNAL) as temporary:
            measure(data, rows, predict(data, rows, unet), number).to_csv(temporary, index=False)
    cases = measure(data, test, predictions, number)
    watcher.write(cases, config.epochs)
    with atomic_path(out / CASES) as temporary:
        cases.to_csv(temporary, index=False)
    (out / CHECKPOINT).unlink(missing_ok=True)


def predict(data: PreparedDataset, rows: np.ndarray, unet: smp.Unet) -> np.ndarray:
    """The masks of some records, ``(N, S, S)`` class indices, by a network in eval mode."""
    return predict_masks(unet, [data.image(row) for row in rows])


def measure(data: PreparedDataset, rows: np.ndarray, predictions: np.ndarray, fold: int) -> pd.DataFrame:
    """One row a case: who it is, and how well each lung was found."""
    cases = []
    for row, prediction in zip(rows, predictions, strict=True):
        record = data.records.iloc[row]
        facts = {
            "case": record["image"],
            "patient_id": record["patient_id"],
            "fold": fold,
            "pleural_effusion": record.get("pleural_effusion", np.nan),
        }
        cases.append(
            facts
            | case_metrics(prediction, true_mask(data, row), data.class_names, record.get("pixel_spacing", np.nan))
        )
    return pd.DataFrame(cases)[case_columns(data.class_names)]


def true_mask(data: PreparedDataset, row: int) -> np.ndarray:
    """The mask of a record, ``(S, S)`` class indices; a DataError names a record that has none."""
    mask = data.mask(row)
    if mask is None:
        raise DataError(f"{data.path}: record {data.records.iloc[row]['image']!r} has no mask to measure against")
    return mask


def fresh_unet(model: ModelConfig, classes: int) -> smp.Unet:
    """A U-Net as configured, without pretraining of ours."""
    weights = None if model.encoder_weights == "none" else model.encoder_weights
    return build_unet(model.encoder, model.decoder_channels, classes=classes, encoder_weights=weights)


class Segmenter(TrainingModule):
    """A U-Net trained with cross-entropy, or cross-entropy plus soft Dice; pixels outside the image do not count."""

    def __init__(self, unet: smp.Unet, config: FinetuneConfig, updates: int):
        super().__init__(config.optim, updates)
        self.unet = unet
        self.dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORE) if config.loss == "dice-ce" else None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits = self.unet(normalise(batch["images"][:, 0].to(memory_format=torch.channels_last))).float()
        truth = batch["masks"][:, 0].long()
        loss = F.cross_entropy(logits, truth, ignore_index=IGNORE)
        if self.dice is not None:
            loss = loss + self.dice(logits, truth)
        if batch_idx % LOG_EVERY == 0:
            check_finite(loss.detach(), batch_idx)
            report(self, batch_idx, {"loss": loss.detach()})
        return loss


class CaseLoader:
    """Case name -> image, truth and prediction of a finished fine-tuning, for the pictures.

    Args:
        data: prepared dataset.
        records: the rows of ``data.records`` that were tested on.
        folds: who was held out when.
        out: the run folder.
    """

    def __init__(self, data: PreparedDataset, records: pd.DataFrame, folds: Folds, out: Path):
        self.data, self.out = data, out
        self.where = {
            data.records.iloc[row]["image"]: (row, number, place)
            for number in range(folds.num_folds)
            for place, row in enumerate(folds.test_rows(records, number))
        }

    def __call__(self, case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if case not in self.where:
            raise DataError(f"{self.out}: its cases.csv names {case!r}, which no fold was tested on; fine-tune again")
        row, number, place = self.where[case]
        predictions = np.load(self.out / "folds" / str(number) / PREDICTIONS, mmap_mode="r", allow_pickle=False)
        return self.data.image(row), true_mask(self.data, row), np.array(predictions[place])


def has_predictions(run: Path) -> bool:
    """Whether the masks that `CaseLoader` reads are still there: run folders may be thinned out."""
    folds = list(run.glob("folds/*"))
    return bool(folds) and all((fold / PREDICTIONS).is_file() for fold in folds)


def compare_runs(run: Path, baseline: Path) -> list:
    """Paired differences, run minus baseline, over the cases of two fine-tuning runs."""
    return compare_cases(read_cases(run / CASES), read_cases(baseline / CASES))
