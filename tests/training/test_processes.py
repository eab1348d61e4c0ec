"""Two processes train as one with the joint batch: in every method the same gradients, weights and reading."""

import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pytorch_lightning import Callback
from torch.utils.data import Dataset

from densecf.config import DistillationConfig, HardwareConfig, ModelConfig, OptimConfig, PretrainConfig
from densecf.data.prepared import PreparedDataset
from densecf.methods import METHODS
from densecf.runs import METRICS
from densecf.training.datasets import choose_counterfactuals
from densecf.training.logs import read_metrics
from densecf.training.loop import fit
from densecf.training.pretrain import make_module, make_samples
from densecf.training.sampler import StepPlan, StepSampler
from densecf.views.geometry import IGNORE

PROCESSES, BATCH, UPDATES = 2, 4, 2
TOLERANCE = 1e-6
"""Of the largest gradient; float64."""

# timm's networks for tests: the smallest of their kind.
UNET = ModelConfig(encoder="tu-test_resnet", decoder_channels=(16, 16, 8, 8, 8), projection_hidden=16, projection_dim=8)
RESNET, VIT = replace(UNET, encoder="test_resnet"), replace(UNET, encoder="test_vit")
# Drop-path draws anew in every process, so that no joint batch could draw the same: it is off.
DINO = DistillationConfig(prototypes=32, hidden=16, bottleneck=8, local_crops=2, drop_path=0.0, freeze_last=0.0)
VARIANTS: dict[str, dict[str, Any]] = {
    "vader, directions summed": {"method": "vader", "direction_reduction": "sum"},
    "mvd-cl, near": {"method": "mvd-cl", "match_radius": 0.1},
    "mvd-cl, near, anywhere": {"method": "mvd-cl", "match_radius": 0.1, "sampling": "anywhere"},
    "s-mvd-cl, background queries": {"method": "s-mvd-cl", "background_queries": True},
    "s-mvd-cl, image-level term": {"method": "s-mvd-cl", "global_weight": 0.5},
    "s-mvd-cl, accumulating": {"method": "s-mvd-cl", "accumulate": 2},
    "simclr, activations in the norms": {"method": "simclr", "model": replace(UNET, encoder="test_efficientnet")},
    "dino, ResNet": {"method": "dino", "model": RESNET, "patch_size": 0},
    "dino, no iBOT": {"method": "dino", "distillation": replace(DINO, ibot=0.0)},
}
CASES = {name: {"method": name} for name in METHODS} | VARIANTS


def config_of(name: str, processes: int) -> PretrainConfig:
    options: dict[str, Any] = dict(CASES[name])
    if METHODS[options["method"]].objective == "distil":
        options = {"patch_size": 8, "model": VIT} | options
    network = RESNET if METHODS[options["method"]].image_level else UNET
    options = {"model": network, "distillation": DINO} | options
    # No such --hardware.precision exists: training in float64 is for this comparison.
    hardware: Any = HardwareConfig(accelerator="cpu", devices=processes, precision="64-true", workers=0)  # type: ignore[arg-type]
    optim = OptimConfig(lr=1e-3, warmup=0.0, clip=0.5)
    return PretrainConfig(
        batch_size=BATCH // processes, points=12, temperature=0.3, seed=3, hardware=hardware, optim=optim, **options
    )


class Gradients(Callback):
    """The gradients of every update, as averaged over processes and not yet clipped."""

    def __init__(self) -> None:
        self.updates: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
        self.updates.append(found)


class Spy(Dataset):
    """Notes what is read."""

    def __init__(self, dataset: Dataset):
        self.dataset, self.read = dataset, []

    def __getitem__(self, key):
        self.read.append(key)
        return self.dataset[key]


@dataclass
class Found:
    """What one process saw of a training."""

    gradients: list[dict[str, torch.Tensor]]
    state: dict[str, torch.Tensor]
    read: list[tuple[int, int]]
    metrics: list[dict] = field(default_factory=list)


def train(name: str, data: PreparedDataset, out: Path, processes: int) -> Found:
    """Some updates of a method by the training loop that the command uses."""
    config = config_of(name, processes)
    out.mkdir(parents=True, exist_ok=True)
    rows = tuple(range(BATCH * UPDATES * config.accumulate))
    plan = StepPlan(rows, config.batch_size, 1, config.accumulate, config.seed, processes)
    module = make_module(config, data, plan.updates, None)
    stored = choose_counterfactuals(data, "auto", METHODS[config.method])
    samples = make_samples(config, data, stored, module)
    gradients, spy = Gradients(), Spy(samples.dataset)
    fit(
        module, spy, plan, out, hardware=config.hardware, title=name, work_per_record=1, checkpoint_minutes=5,
        callbacks=[gradients], progress=False,
    )  # fmt: skip
    state = {key: value.clone() for key, value in module.state_dict().items()}
    return Found(gradients.updates, state, spy.read, read_metrics(out / METRICS))


def work(rank: int, phantom: str, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    told = {
        "LOCAL_RANK": rank,
        "NODE_RANK": 0,
        "WORLD_SIZE": PROCESSES,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ |= {key: str(value) for key, value in told.items()}
    data = PreparedDataset.open(phantom)
    for name in CASES:
        found = train(name, data, Path(folder) / name, PROCESSES)
        torch.save(vars(found), f"{folder}/{name}-{rank}.pt")


@pytest.fixture(scope="module")
def together(phantom, tmp_path_factory) -> Path:
    """Every case trained by two processes, which start once for all of them."""
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    folder: Path = tmp_path_factory.mktemp("together")
    mp.spawn(work, args=(str(phantom), str(folder), find_free_network_port()), nprocs=PROCESSES)
    return folder


@pytest.fixture(scope="module")
def alone(phantom, tmp_path_factory):
    data, folder, known = PreparedDataset.open(phantom), tmp_path_factory.mktemp("alone"), {}

    def trained(name: str) -> Found:
        if name not in known:
            known[name] = train(name, data, folder / name, 1)
        return known[name]

    return trained


def found_by(folder: Path, name: str, rank: int) -> Found:
    return Found(**torch.load(folder / f"{name}-{rank}.pt", weights_only=True))


def largest(tensors: dict[str, torch.Tensor]) -> float:
    return max(float(value.abs().max()) for value in tensors.values() if value.is_floating_point())


@pytest.mark.parametrize("name", CASES)
def test_the_gradients_are_those_of_the_joint_batch(together, alone, name):
    expected = alone(name)
    assert len(expected.gradients) == UPDATES
    worst = 0.0
    for rank in range(PROCESSES):
        found = found_by(together, name, rank)
        for ours, joint in zip(found.gradients, expected.gradients, strict=True):
            assert ours.keys() == joint.keys()
            scale = largest(joint)
            assert scale > 1e-4
            worst = max(worst, largest({key: ours[key] - joint[key] for key in joint}) / scale)
    print(f"{name}: {worst:.1e}")
    assert worst < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_the_weights_and_the_reported_loss_are_those_of_the_joint_batch(together, alone, name):
    """Running means, DINO's teacher and centres included; AdamW divides by small numbers, so not as exact."""
    expected, found = alone(name), [found_by(together, name, rank) for rank in range(PROCESSES)]
    for rank in range(PROCESSES):
        assert found[rank].state.keys() == expected.state.keys()
        for key, value in expected.state.items():
            torch.testing.assert_close(
                found[rank].state[key], value, rtol=1e-5, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}"
            )
            assert torch.equal(found[rank].state[key], found[0].state[key])
    if METHODS[CASES[name]["method"]].objective != "distil":  # there it is the first process's part
        assert found[0].metrics[0]["loss"] == pytest.approx(expected.metrics[0]["loss"], rel=1e-6)


@pytest.mark.parametrize("name", ["s-mvd-cl", "simclr"])
def test_a_process_reads_only_its_share(together, alone, name):
    first, second = (set(found_by(together, name, rank).read) for rank in range(PROCESSES))
    assert not first & second
    assert first | second == set(alone(name).read) == {(0, row) for row in range(BATCH * UPDATES)}


@pytest.mark.parametrize(("records", "world", "batch"), [(24, 2, 3), (24, 8, 1), (30, 3, 4), (7, 2, 8)])
def test_shares_are_apart_and_cover_every_epoch(records, world, batch):
    plan = StepPlan(tuple(range(100, 100 + records)), batch, epochs=3, seed=1, world=world)
    ranks = [list(StepSampler(plan, rank=rank)) for rank in range(world)]
    read = records - records % (plan.records_per_step * world)
    for epoch in range(3):
        shares = [{row for step in rank for at, row in step if at == epoch} for rank in ranks]
        assert len(set().union(*shares)) == sum(map(len, shares)) == read
        assert len({len(share) for share in shares}) == 1
    assert {len(step) for rank in ranks for step in rank} == {plan.records_per_step}


def test_numbers_of_pixels_that_show_something_differ_between_processes(phantom):
    """Else the comparison above would not see a mean of means."""
    data = PreparedDataset.open(phantom)
    config = config_of("segmentation", PROCESSES)
    module = make_module(config, data, 1, None)
    samples = make_samples(config, data, choose_counterfactuals(data, "auto", METHODS["segmentation"]), module)
    plan = StepPlan(tuple(range(BATCH)), config.batch_size, 1, seed=config.seed, world=PROCESSES)
    shown = [
        sum(int((samples.dataset[key]["masks"] != IGNORE).sum()) for key in next(iter(StepSampler(plan, rank=rank))))
        for rank in range(PROCESSES)
    ]
    assert shown[0] != shown[1]
