"""Two processes with half a batch each must give the loss and the gradient of one process with all of it."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from densecf.losses import (
    all_reduce_sum,
    chance_level,
    contrast,
    contrast_chance_level,
    distributed_info_nce,
    gather_rows,
    info_nce,
    nearby_chance_level,
    nearby_contrast,
)
from densecf.losses.pairing import Pairing
from tests.losses.test_info_nce import assert_exact, grad_of
from tests.losses.test_pairing import class_ids, location_ids

PROCESSES = 2


class Case(NamedTuple):
    """A joint batch; process r takes its r-th half of the images."""

    inputs: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor | None
    pairing: Pairing

    def part(self, rank: int) -> "Case":
        half = slice(rank * len(self.ids) // PROCESSES, (rank + 1) * len(self.ids) // PROCESSES)
        mask = None if self.mask is None else self.mask[half]
        return Case(self.inputs[half], self.ids[half], mask, self.pairing)

    def loss(self, head: nn.Module) -> torch.Tensor:
        return contrast(head(self.inputs), self.ids, pairing=self.pairing, temperature=0.2, query_mask=self.mask)

    def chance_level(self) -> torch.Tensor:
        return contrast_chance_level(self.ids, pairing=self.pairing, query_mask=self.mask)


def cases() -> dict[str, Case]:
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(4, 3, 5, 6, generator=generator, dtype=torch.float64)
    pairs = torch.randn(4, 2, 2, 5, 6, generator=generator, dtype=torch.float64)
    location = location_ids(4, 3, 5)
    location[2:, :, 1:3] = -1  # points invalid in every view, in the second process only
    location[3, 1, 4] = -1  # and one in one view
    only_first = location.clone()
    only_first[2:] = -1  # the second process has nothing to compare
    classes, pair_classes = class_ids(4, 3, 5), class_ids(4, 2, 2, 5)
    classes[:2, :, :2] = 0  # more background in the first process
    found = {"dual-pairs-class": Case(pairs, pair_classes, pair_classes > 0, "dual")}
    pairing: Pairing
    for pairing in ("dual", "multi"):
        found[f"{pairing}-location"] = Case(views, location, None, pairing)
        found[f"{pairing}-one-process-empty"] = Case(views, only_first, None, pairing)
        found[f"{pairing}-nobody-valid"] = Case(views, torch.full_like(location, -1), None, pairing)
        found[f"{pairing}-class"] = Case(views, classes, classes > 0, pairing)
    return found


def nearby_case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Views, positions, and who takes part: fewer in the second process."""
    generator = torch.Generator().manual_seed(1)
    views = torch.randn(4, 3, 5, 6, generator=generator, dtype=torch.float64)
    positions = torch.rand(4, 3, 5, 2, generator=generator, dtype=torch.float64)
    part = torch.ones(4, 3, 5, dtype=torch.bool)
    part[2:, :, 1:3] = False
    return views, positions, part


def make_head() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def gradients(head: nn.Module) -> list[torch.Tensor]:
    return [grad_of(parameter).clone() for parameter in head.parameters()]


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PROCESSES)
    result: dict[str, tuple] = {}
    for name, case in cases().items():
        head = DistributedDataParallel(make_head())
        loss = case.part(rank).loss(head)
        loss.backward()
        result[name] = (loss.detach(), gradients(head.module), case.part(rank).chance_level())
    rows = (torch.arange(6, dtype=torch.float64).reshape(3, 2) + 10 * rank).requires_grad_()
    gathered = gather_rows(rows)
    (gathered * (torch.arange(12).reshape(6, 2) * (rank + 1))).sum().backward()
    result["gather"] = (gathered.detach(), grad_of(rows))
    count = torch.tensor(rank + 3)
    result["sum"] = (all_reduce_sum(count), count)
    head, (views, positions, part) = DistributedDataParallel(make_head()), nearby_case()
    own = slice(rank * 2, rank * 2 + 2)
    loss = nearby_contrast(head(views[own]), positions[own], part[own], radius=0.3, temperature=0.2)
    loss.backward()
    chance = nearby_chance_level(positions[own], part[own], radius=0.3)
    result["nearby"] = (loss.detach(), gradients(head.module), chance)
    half = torch.randn(6, 4, generator=torch.Generator().manual_seed(rank)).bfloat16().requires_grad_()
    ids = torch.arange(6) % 2
    loss = distributed_info_nce(half, half, ids, ids, temperature=0.2, exclude_self=True)
    loss.backward()
    result["bfloat16"] = (loss.detach(), half.detach(), grad_of(half))
    torch.save(result, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict]:
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    folder: Path = tmp_path_factory.mktemp("processes")
    mp.spawn(work, args=(str(folder),), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


@pytest.mark.parametrize("name", cases())
def test_two_processes_equal_one(results, name):
    head, case = make_head(), cases()[name]
    loss = case.loss(head)
    loss.backward()
    for rank in range(PROCESSES):
        rank_loss, rank_gradients, rank_chance = results[rank][name]
        assert_exact(rank_loss, loss.detach())
        assert_exact(rank_gradients, gradients(head))
        torch.testing.assert_close(rank_chance, case.chance_level())
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients(head)) == ("nobody" not in name)


def test_two_processes_equal_one_with_near_positives(results):
    head, (views, positions, part) = make_head(), nearby_case()
    loss = nearby_contrast(head(views), positions, part, radius=0.3, temperature=0.2)
    loss.backward()
    for rank in range(PROCESSES):
        rank_loss, rank_gradients, rank_chance = results[rank]["nearby"]
        assert_exact(rank_loss, loss.detach())
        assert_exact(rank_gradients, gradients(head))
        torch.testing.assert_close(rank_chance, nearby_chance_level(positions, part, radius=0.3))


def test_numbers_of_valid_queries_differ_between_processes():
    """Else the comparison above would not see a mean of means."""
    case = cases()["multi-location"]
    numbers = [(case.part(rank).ids >= 0).sum().item() for rank in range(PROCESSES)]
    assert numbers[0] != numbers[1]


def test_gathered_rows_and_their_gradients(results):
    own = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    weights = 3 * torch.arange(12, dtype=torch.float64).reshape(6, 2)  # 1 from rank 0 and 2 from rank 1
    for rank in range(PROCESSES):
        gathered, gradient = results[rank]["gather"]
        assert torch.equal(gathered, torch.cat((own, own + 10)))
        assert torch.equal(gradient, weights[3 * rank : 3 * rank + 3])


def test_sum_over_processes_leaves_its_argument_alone(results):
    for rank in range(PROCESSES):
        total, given = results[rank]["sum"]
        assert (total, given) == (7, rank + 3)


def test_half_precision_rows_over_processes(results):
    halves = [results[rank]["bfloat16"] for rank in range(PROCESSES)]
    rows = torch.cat([half[1] for half in halves]).requires_grad_()
    ids = (torch.arange(6) % 2).repeat(2)
    loss = info_nce(rows, rows, ids, ids, temperature=0.2, exclude_self=True)
    loss.backward()
    for rank, (rank_loss, _, gradient) in enumerate(halves):
        torch.testing.assert_close(rank_loss, loss.detach())
        part = grad_of(rows)[6 * rank : 6 * rank + 6]
        torch.testing.assert_close(gradient / PROCESSES, part, rtol=0.02, atol=1e-3)


def test_one_process_is_the_plain_loss():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(6) % 2
    assert gather_rows(rows) is rows
    assert all_reduce_sum(torch.tensor(3)) == 3
    assert torch.equal(
        distributed_info_nce(rows, rows, ids, ids, temperature=0.2, exclude_self=True),
        info_nce(rows, rows, ids, ids, temperature=0.2, exclude_self=True),
    )
    assert chance_level(ids, ids, exclude_self=True) > 0
