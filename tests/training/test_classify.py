"""Fine-tuning on a label: weights, views, the best weights on val, resuming."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from densecf.config import ClassifierConfig, HardwareConfig, OptimConfig
from densecf.data.label_split import split_labels
from densecf.data.labels import read_labels
from densecf.data.prepared import PreparedDataset
from densecf.evaluation.label_efficiency import Task, TestSet
from densecf.evaluation.roc import roc_auc
from densecf.models.backbone import ImageEncoder
from densecf.training import classify
from densecf.training.classify import LabelledViews, class_scores, class_weights, finetune_classifier, plan_of
from densecf.training.logs import read_metrics
from densecf.views.parameters import ViewParameters

PLAIN = ViewParameters(rotation=0, scale=(1, 1), ratio=(1, 1), jitter_prob=0, blur_prob=0, solarize_prob=0)


class Brightness(nn.Module):
    """Features a line can separate when the label is the brightness."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)

    def forward(self, images):
        flat = images.flatten(1)
        return self.norm(torch.stack([flat.mean(1), flat.std(1)], dim=1))


@pytest.fixture
def data(phantom) -> PreparedDataset:
    return PreparedDataset.open(phantom)


@pytest.fixture
def task(data) -> Task:
    bright = np.array([data.image(row).mean() for row in range(len(data))])
    records = data.records[["image", "patient_id"]].assign(bright=(bright > np.quantile(bright, 0.7)).astype(float))
    labels = read_labels(records, "bright")
    split = split_labels(records, labels)
    return Task(records, labels, split, [TestSet("own", split.test, labels.codes[split.test], {})], (1.0,), (0,))


def config(**changes) -> ClassifierConfig:
    options = {
        "steps": 60,
        "batch_size": 16,
        "checkpoint_minutes": 1000,
        "views": PLAIN,
        "optim": OptimConfig(lr=0.1),
        "hardware": HardwareConfig(accelerator="cpu", devices=1, precision="32", workers=0),
    }
    return ClassifierConfig(**{**options, **changes})


def run(task, data, out, **more):
    torch.manual_seed(1)
    encoder = ImageEncoder(Brightness(), 2)
    return finetune_classifier(
        encoder,
        task,
        task.split.train,
        [data],
        more.pop("config", config()),
        out,
        seed=0,
        title="",
        progress=False,
        **more,
    )


def test_class_weights_give_every_class_the_same_say():
    codes = np.array([0] * 6 + [1] * 2 + [2])
    weights = class_weights(codes, 3)
    assert weights[codes].sum() == pytest.approx(len(codes))
    sums = [float(weights[codes[codes == k]].sum()) for k in range(3)]
    assert sums == pytest.approx([3.0] * 3)


def test_views_are_real_images_drawn_by_seed_epoch_and_row(data):
    codes = np.arange(len(data))
    plain = LabelledViews(data, codes, PLAIN, 0)
    sample = plain[(3, 5)]
    np.testing.assert_allclose(sample["images"][0], data.image(5), atol=1e-5)
    assert sample["label"] == 5
    turned = LabelledViews(data, codes, ViewParameters(), 0)
    assert torch.equal(turned[(0, 5)]["images"], turned[(0, 5)]["images"])
    assert not torch.equal(turned[(0, 5)]["images"], turned[(1, 5)]["images"])


def test_the_steps_are_about_as_many_whatever_the_share():
    for rows in (10, 40, 500):
        plan = plan_of(config(steps=100), np.arange(rows), 0)
        assert abs(plan.steps - 100) <= plan.steps_per_epoch / 2


def test_scores_are_logits_of_the_second_class_or_probabilities(data):
    class Two(nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1))

    torch.manual_seed(0)
    two, three = Two(32 * 32, 2), Two(32 * 32, 3)
    logits = two(torch.from_numpy(data.image(4))[None]).detach().numpy()[0]
    assert class_scores(two, data, np.array([4, 5]))[0] == pytest.approx(logits[1] - logits[0], abs=1e-5)
    np.testing.assert_allclose(class_scores(three, data, np.array([4, 5])).sum(axis=1), 1, rtol=1e-5)


def test_it_learns_and_scores_with_the_best_weights_on_val(task, data, tmp_path):
    found = run(task, data, tmp_path)
    assert roc_auc(found.scores[0], task.tests[0].codes) > 0.95
    assert found.facts["val_auc"] > 0.95
    looks = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "val_auc" in row]
    best = max(looks, key=lambda row: (row["val_auc"], -row["step"]))
    assert (found.facts["best_step"], found.facts["val_auc"]) == (best["step"], pytest.approx(best["val_auc"]))
    assert {path.name for path in tmp_path.iterdir()} >= {"scores.safetensors", "metrics.jsonl"}
    assert not (tmp_path / "best.safetensors").exists()
    again = run(task, data, tmp_path, resume=True)  # done already: nothing is trained
    np.testing.assert_array_equal(again.scores[0], found.scores[0])
    assert again.facts == found.facts


def test_scores_are_made_where_it_was_trained(task, data, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(classify, "best_device", lambda accelerator: asked.append(accelerator) or torch.device("cpu"))
    run(task, data, tmp_path, config=config(steps=1))
    assert asked == ["cpu"]  # as --hardware.accelerator says


def test_killed_in_the_middle_it_ends_as_if_it_had_not_been(task, data, tmp_path, monkeypatch):
    whole = run(task, data, tmp_path / "whole", config=config(checkpoint_minutes=0, steps=20))
    step = classify.Classifier.training_step

    def dies(self, batch, batch_idx):
        if batch_idx == 13:
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(classify.Classifier, "training_step", dies)
    with pytest.raises(RuntimeError, match="killed"):
        run(task, data, tmp_path / "cut", config=config(checkpoint_minutes=0, steps=20))
    monkeypatch.undo()
    assert load_file(tmp_path / "cut" / "best.safetensors")
    cut = run(task, data, tmp_path / "cut", config=config(checkpoint_minutes=0, steps=20), resume=True)
    np.testing.assert_array_equal(cut.scores[0], whole.scores[0])
    assert cut.facts == whole.facts
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    assert lines[0] == lines[1]
