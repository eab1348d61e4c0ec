"""The shared loop: what a step sees depends on its number alone, and a resumed training equals an unbroken one."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from torch import nn
from torch.utils.data import Dataset

from densecf.config import HardwareConfig, OptimConfig
from densecf.errors import CheckpointError, DensecfError
from densecf.runs import METRICS
from densecf.training.logs import forget_after, read_metrics, report
from densecf.training.loop import CHECKPOINT, LOG_EVERY, check_finite, fit, resolve_precision
from densecf.training.optim import TrainingModule, lr_factor
from densecf.training.sampler import StepPlan, StepSampler

HARDWARE = HardwareConfig(accelerator="cpu", precision="32", workers=0)


class Numbers(Dataset):
    """A sample that is a pure function of (epoch, row)."""

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        return torch.randn(3, generator=torch.Generator().manual_seed(1000 * key[0] + key[1]))


class Toy(TrainingModule):
    def __init__(self, updates: int):
        super().__init__(OptimConfig(lr=0.1, clip=1.0), updates)
        torch.manual_seed(0)
        self.net, self.seen = nn.Linear(3, 1), []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch_idx, batch.sum().item()))
        loss = self.net(batch).square().mean()
        if batch_idx % LOG_EVERY == 0:
            report(self, batch_idx, {"loss": loss.detach()})
        return loss


class StopAt(Callback):
    """Ends the training as a kill would: without the end-of-training hooks having a say in the checkpoint."""

    class Killed(Exception):
        pass

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx + 1 == self.step:
            raise self.Killed


class StopAfter(StopAt):
    """The same once the checkpoint of the step is written."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        """Too early."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == self.step:
            raise self.Killed


def train(out: Path, plan: StepPlan, *, callbacks=(), resume=False, workers=0) -> Toy:
    out.mkdir(exist_ok=True)
    module = Toy(plan.updates)
    hardware = HardwareConfig(accelerator="cpu", precision="32", workers=workers)
    fit(
        module, Numbers(), plan, out, hardware=hardware, title="toy", work_per_record=1, checkpoint_minutes=0,
        callbacks=callbacks, resume=resume, progress=False,
    )  # fmt: skip
    return module


@pytest.mark.parametrize(
    ("accumulate", "stop", "workers"), [(1, 1, 0), (1, 13, 0), (1, 24, 2), (2, 8, 0), (2, 9, 0), (1, 12, 0)]
)
def test_resumed_equals_unbroken(tmp_path, accumulate, stop, workers):
    plan = StepPlan(tuple(range(10)), batch_size=2, epochs=5, accumulate=accumulate, seed=3)
    whole = train(tmp_path / "whole", plan)
    with pytest.raises(StopAt.Killed):
        train(tmp_path / "cut", plan, callbacks=[StopAfter(stop)])
    assert (tmp_path / "cut" / CHECKPOINT).is_file()
    resumed = train(tmp_path / "cut", plan, resume=True, workers=workers)
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name])
    assert resumed.seen == whole.seen[-len(resumed.seen) :]
    assert len(resumed.seen) == plan.steps - stop // accumulate * accumulate
    assert read_metrics(tmp_path / "cut" / METRICS) == read_metrics(tmp_path / "whole" / METRICS)


class Measuring(Callback):
    """Writes a line of its own after some steps, and dies before or after one of them."""

    def __init__(self, before: int = 0, after: int = 0):
        self.before, self.after = before, after

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx + 1 == self.before:
            raise StopAt.Killed
        for logger in trainer.loggers if (batch_idx + 1) % 4 == 0 else ():
            logger.log_metrics({"measured": float(module.net.bias)}, batch_idx)
        if batch_idx + 1 == self.after:
            raise StopAt.Killed


@pytest.mark.parametrize("dies", [{"before": 8}, {"after": 8}, {"after": 4}])
def test_no_line_of_a_measurement_is_lost_or_doubled_by_a_kill(tmp_path, dies):
    plan = StepPlan(tuple(range(10)), batch_size=2, epochs=3)
    train(tmp_path / "whole", plan, callbacks=[Measuring()])
    with pytest.raises(StopAt.Killed):
        train(tmp_path / "cut", plan, callbacks=[Measuring(**dies)])
    train(tmp_path / "cut", plan, callbacks=[Measuring()], resume=True)
    whole = read_metrics(tmp_path / "whole" / METRICS)
    assert sum("measured" in row for row in whole) == 3
    assert read_metrics(tmp_path / "cut" / METRICS) == whole


def test_resume_without_a_checkpoint_starts_anew(tmp_path):
    plan = StepPlan(tuple(range(4)), batch_size=2, epochs=2)
    assert len(train(tmp_path / "run", plan, resume=True).seen) == 4


def test_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=CHECKPOINT):
        train(tmp_path, StepPlan((0, 1), 2, 1), resume=True)


def test_steps_of_an_epoch_are_a_shuffle_of_all_rows():
    plan = StepPlan(tuple(range(100, 112)), batch_size=3, epochs=3, seed=1)
    batches = list(StepSampler(plan))
    assert len(batches) == plan.steps == len(StepSampler(plan)) == 12
    for epoch in range(3):
        keys = [key for batch in batches[4 * epoch : 4 * epoch + 4] for key in batch]
        assert {e for e, _ in keys} == {epoch}
        assert sorted(row for _, row in keys) == list(plan.rows)
    assert batches[:4] != [[(0, row) for _, row in batch] for batch in batches[4:8]]


def test_processes_share_a_step_without_overlap():
    one = StepPlan(tuple(range(13)), batch_size=4, epochs=2, seed=5)
    two = StepPlan(tuple(range(13)), batch_size=2, epochs=2, seed=5, world=2)
    ranks = [list(StepSampler(two, rank=rank)) for rank in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == list(StepSampler(one))


def test_a_sampler_can_start_anywhere():
    plan = StepPlan(tuple(range(7)), batch_size=2, epochs=4, seed=2)
    assert list(StepSampler(plan, start=5)) == list(StepSampler(plan))[5:]


def test_fewer_rows_than_a_batch():
    plan = StepPlan((4, 5), batch_size=8, epochs=3)
    assert plan.records_per_step == 2
    assert plan.steps == 3


def test_learning_rate_schedule():
    config = OptimConfig(lr=1.0, min_lr=0.1, warmup=0.2)
    assert lr_factor(0, 100, config) == pytest.approx(0.01)
    assert lr_factor(20, 100, config) == pytest.approx(1.0)
    assert lr_factor(60, 100, config) == pytest.approx(0.1 + 0.9 * 0.5)
    assert lr_factor(100, 100, config) == pytest.approx(0.1)


def test_metrics_beyond_the_checkpoint_are_forgotten(tmp_path):
    path = tmp_path / METRICS
    path.write_text('{"step": 0, "loss": 1}\n{"step": 10, "loss": 2}\n{"step": 2', encoding="utf-8")
    forget_after(path, 10)
    assert read_metrics(path) == [{"step": 0, "loss": 1}]


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(DensecfError, match="step 7"):
        check_finite(torch.tensor(float("nan")), 7)
    check_finite(torch.tensor(1.0), 7)


def test_weights_that_break_after_the_last_logged_step_are_noticed(tmp_path):
    class Breaks(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx == trainer.num_training_batches - 1:
                module.net.weight.data[0, 0] = float("inf")

    with pytest.raises(DensecfError, match=r"toy: ended with weights that are not finite"):
        train(tmp_path / "run", StepPlan(tuple(range(5)), 2, 2), callbacks=[Breaks()])


def test_precision_is_taken_as_asked():
    assert resolve_precision(HARDWARE) == "32"
    assert resolve_precision(HardwareConfig(accelerator="cpu", precision="bf16-mixed")) == "bf16-mixed"
    assert resolve_precision(HardwareConfig(accelerator="cpu")) in ("32", "bf16-mixed")


class Trap:
    """Runs something when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_is_checked_before_it_is_taken_up(tmp_path):
    plan = StepPlan(tuple(range(10)), batch_size=2, epochs=2)
    with pytest.raises(StopAt.Killed):
        train(tmp_path / "run", plan, callbacks=[StopAfter(5)])
    file = tmp_path / "run" / CHECKPOINT
    whole, content = file.read_bytes(), torch.load(file, weights_only=True)
    weight = content["state_dict"]["net.weight"].numpy().tobytes()
    spoilt = bytearray(whole)
    spoilt[whole.index(weight) + 1] ^= 1  # one bit of one weight
    other = {**content, "state_dict": {"net.weight": torch.zeros(7, 7)}}
    trap = {**content, "loops": Trap(tmp_path / "executed")}
    for made, words in (
        (bytes(spoilt), "checksum"),
        ({"global_step": 5}, "lacks"),
        (other, "in the network"),
        (trap, "plain tensors only"),
    ):
        if isinstance(made, bytes):
            file.write_bytes(made)
        else:
            torch.save(made, file)
        with pytest.raises(CheckpointError, match=rf"{CHECKPOINT}: cannot be read.*{words}"):
            train(tmp_path / "run", plan, resume=True)
    assert not (tmp_path / "executed").exists()
