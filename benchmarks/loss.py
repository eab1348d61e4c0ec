"""Time and memory of the streamed loss, forward and backward: ``python -m benchmarks.loss`` (Linux).

Compares with the four M x D x M matrix products that a loss which recomputes its similarities in the backward
pass cannot avoid, and with SupConLoss of pytorch-metric-learning. Times are medians of runs that alternate in
one process with all of torch's default threads. Memory is the highest resident set of a fresh process above
what it had before the embeddings were made, so embeddings and their gradient are included.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from densecf.losses import info_nce

DIM, CLASSES, TEMPERATURE, REPEATS = 128, 3, 0.1, 5
SIZES = (4_000, 8_000, 16_000, 32_000)
RIVAL_SIZE = 8_000
PRODUCT_TILE = 256


def make_rows(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(size, DIM, generator=generator).requires_grad_()
    return rows, torch.randint(0, CLASSES, (size,), generator=generator)


def run_ours(rows: Tensor, ids: Tensor) -> Tensor:
    """Returns the loss after its backward pass."""
    rows.grad = None
    loss = info_nce(rows, rows, ids, ids, temperature=TEMPERATURE, exclude_self=True)
    loss.backward()
    return loss.detach()


def run_supcon(rows: Tensor, ids: Tensor) -> Tensor:
    """The same value from pytorch-metric-learning, as its users would call it."""
    from pytorch_metric_learning.losses import SupConLoss

    rows.grad = None
    loss = SupConLoss(temperature=TEMPERATURE)(rows, ids)
    loss.backward()
    return loss.detach()


def run_products(rows: Tensor, ids: Tensor) -> Tensor:
    """Similarities twice (forward, and again backward) and the two gradients, in tiles of one reused buffer."""
    rows = rows.detach()
    buffer, gradient = torch.empty(PRODUCT_TILE, len(rows)), torch.zeros_like(rows)
    for tile in rows.split(PRODUCT_TILE):
        similarity = buffer[: len(tile)]
        torch.mm(tile, rows.t(), out=similarity)
        torch.mm(tile, rows.t(), out=similarity)
        torch.mm(similarity, rows)
        gradient.addmm_(similarity.t(), tile)
    return gradient.sum()


RUNS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ours": run_ours,
    "supcon": run_supcon,
    "products": run_products,
}


def median_seconds(names: list[str], size: int) -> list[float]:
    """Median time of each run, taken in turns so that a busy moment hits all of them."""
    rows, ids = make_rows(size)
    times: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(REPEATS + 1):
        for name in names:
            start = time.perf_counter()
            RUNS[name](rows, ids)
            if repeat > 0:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return [statistics.median(times[name]) for name in names]


def resident_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (highest) of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def measure_memory(name: str, size: int) -> dict[str, float]:
    """Highest resident set above the baseline, in this process, after a small run to load what loads lazily."""
    RUNS[name](*make_rows(64))
    before = resident_mb("VmRSS")
    value = RUNS[name](*make_rows(size))
    return {"mb": resident_mb("VmHWM") - before, "value": value.item()}


def memory_in_fresh_process(name: str, size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.loss", "--memory-of", name, "--size", str(size)]
    root = Path(__file__).parents[1]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=root).stdout)


def report() -> bool:
    """Prints the tables; True when every bar is met."""
    print(f"streamed loss, forward and backward, D = {DIM}, float32, {torch.get_num_threads()} threads\n")
    print(f"{'rows':>8} {'loss s':>9} {'4 products s':>13} {'ratio':>6} {'peak MB':>8}")
    ratio = peak = 0.0
    for size in SIZES:
        peak = memory_in_fresh_process("ours", size)["mb"]
        ours, products = median_seconds(["ours", "products"], size)
        ratio = ours / products
        print(f"{size:>8} {ours:>9.3f} {products:>13.3f} {ratio:>6.2f} {peak:>8.0f}", flush=True)

    memory = {name: memory_in_fresh_process(name, RIVAL_SIZE) for name in ("ours", "supcon")}
    seconds = dict(zip(("ours", "supcon"), median_seconds(["ours", "supcon"], RIVAL_SIZE), strict=True))
    print(f"\n{f'at {RIVAL_SIZE} rows':<36} {'value':>10} {'seconds':>9} {'peak MB':>8}")
    for name, label in (("ours", "densecf info_nce"), ("supcon", "pytorch-metric-learning SupConLoss")):
        print(f"{label:<36} {memory[name]['value']:>10.6f} {seconds[name]:>9.3f} {memory[name]['mb']:>8.0f}")

    faster, smaller = seconds["supcon"] / seconds["ours"], memory["supcon"]["mb"] / memory["ours"]["mb"]
    bars = {
        f"at {SIZES[-1]} rows at most 1.5 times four products: {ratio:.2f}": ratio <= 1.5,
        f"at {SIZES[-1]} rows less than 200 MB: {peak:.0f}": peak < 200,
        f"at {RIVAL_SIZE} rows 8 times as fast as SupConLoss: {faster:.1f}": faster >= 8,
        f"at {RIVAL_SIZE} rows a twentieth of its memory: 1 / {smaller:.1f}": smaller >= 20,
    }
    print()
    for bar, met in bars.items():
        print("met   " if met else "MISSED", bar)
    return all(bars.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory-of", choices=RUNS, help="only measure the memory of one run, in this process")
    parser.add_argument("--size", type=int, default=SIZES[-1], help="rows, with --memory-of")
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(measure_memory(options.memory_of, options.size)))
    else:
        sys.exit(not report())
