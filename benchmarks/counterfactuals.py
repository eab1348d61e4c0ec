"""Making counterfactuals: ``python -m benchmarks.counterfactuals``.

Time: three interventions from one abduction and one prediction of all three, as `densecf counterfactuals generate`
does it, against the protocol of the authors' code, which for each intervention infers the latents and decodes them
under the image's own and under the new parents. The same network, images and batch size; the two take turns. Counted
in passes that is 1 encoder + 4 decoders against 3 encoders + 9 decoders: 2.25 times where only decoders cost, 3 times
where only encoders do.

The whole way: `generate` on a dataset, from arrays to checksummed arrays, against that protocol as the authors' script
runs it, PNG file to PNG file, once for each intervention.

Memory: the peak of generation, in processes of their own, for two sizes of the dataset.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from densecf.config import HVAEConfig
from densecf.counterfactuals.generation import PAPER, generate
from densecf.counterfactuals.generator import HVAEGenerator
from densecf.counterfactuals.hvae.network import HVAE
from densecf.counterfactuals.interventions import parse_interventions
from densecf.counterfactuals.parents import Parent, Parents
from densecf.counterfactuals.scm import StructuralCausalModel
from densecf.data.prepare import prepare
from densecf.data.prepared import PreparedDataset
from densecf.data.sources import Sample
from densecf.presets import COUNTERFACTUAL_PRESETS

SCM = StructuralCausalModel(
    Parents(
        (
            Parent("scanner", "binary", ("A", "B")),
            Parent("sex", "binary", ("F", "M")),
            Parent("pleural_effusion", "binary", ("0", "1")),
        )
    )
)
# For the memory: images large, the network small, so that what grows would be the data.
SLIGHT = HVAEConfig(
    encoder="16b1d2,8b1d2,4b1d4,1b1",
    decoder="1b1,4b1,8b1,16b1",
    widths=(8, 8, 8, 8),
    latents=(2, 2, 2, 1),
    max_latent_size=8,
    patch=8,
)


class Noise:
    """Images of noise with parents, as a source of prepared data."""

    class_names: tuple[str, ...] = ("background", "lung")
    counterfactual_source = ""
    counterfactual_names: tuple[str, ...] = ()

    def __init__(self, count: int):
        self.records = pd.DataFrame(
            {
                "image": [f"{i:06d}.png" for i in range(count)],
                "patient_id": [str(i) for i in range(count)],
                "mask_kind": [""] * count,
                "scanner": ["AB"[i % 2] for i in range(count)],
                "sex": ["FM"[i // 2 % 2] for i in range(count)],
                "pleural_effusion": [float(i // 4 % 2) for i in range(count)],
            }
        )

    def load(self, row: int, size: int) -> Sample:
        image = np.random.default_rng(row).random((size, size), dtype=np.float32)
        return Sample(image, None, np.eye(3), float("nan"))

    def fingerprint(self) -> dict:
        return {"reader": "noise", "count": len(self.records)}


def untrained(config: HVAEConfig) -> HVAEGenerator:
    """Random weights, also where training starts from zero, so that answers can be compared."""
    torch.manual_seed(0)
    network = HVAE(config, SCM.parents.width)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return HVAEGenerator(network, SCM, {}, "untrained")


@torch.no_grad()
def one_by_one(network: HVAE, images: Tensor, own: Tensor, targets: Tensor) -> Tensor:
    """The authors' protocol: for each intervention all of it anew. (B, 1, S, S) in [-1, 1] -> (K, B, 1, S, S)."""
    answers = []
    for target in targets:
        latents = network.abduct(images, own).latents
        before, after = network.decode(latents, own), network.decode(latents, target)
        noise = (images - before.mean.clamp(-1, 1)) / before.scale
        answers.append((after.mean.clamp(-1, 1) + after.scale * noise).clamp(-1, 1))
    return torch.stack(answers)


@torch.no_grad()
def at_once(generator: HVAEGenerator, images: Tensor, own: Tensor, targets: Tensor) -> Tensor:
    return generator.predict(generator.abduct((images + 1) / 2, own), targets) * 2 - 1


def compare_time(generator: HVAEGenerator, data: PreparedDataset, batch: int, repeats: int) -> None:
    own, targets = parents_of(data, batch)
    images = torch.from_numpy(np.stack([data.image(row) for row in range(batch)]))[:, None] * 2 - 1
    difference = (at_once(generator, images, own, targets) - one_by_one(generator.network, images, own, targets)).abs()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        start = time.perf_counter()
        at_once(generator, images, own, targets)
        middle = time.perf_counter()
        one_by_one(generator.network, images, own, targets)
        seconds[0].append(middle - start)
        seconds[1].append(time.perf_counter() - middle)
    ours, theirs = map(statistics.median, seconds)
    made = len(targets) * batch
    print(f"network only, batches of {batch} (answers differ by {difference.max():.0e} at most)")
    print(f"  one abduction, {len(targets)} predictions at once   {ours:8.3f} s   {made / ours:8.1f} images a second")
    print(f"  each intervention by itself           {theirs:8.3f} s   {made / theirs:8.1f} images a second")
    print(f"  ratio                                 {theirs / ours:8.2f}")


def compare_whole(generator: HVAEGenerator, data: PreparedDataset, batch: int, folder: Path) -> None:
    (folder / "png").mkdir()
    for row in range(len(data)):
        Image.fromarray((data.images[row] >> 8).astype(np.uint8)).save(folder / f"png/{row}.png")
    interventions = parse_interventions(PAPER, SCM.parents)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        generate(generator, data, interventions, batch_size=batch, progress=False)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    own, targets = parents_of(data, len(data))
    for number in range(len(interventions)):
        for first in range(0, len(data), batch):
            rows = range(first, min(first + batch, len(data)))
            pixels = [np.asarray(Image.open(folder / f"png/{row}.png"), np.float32) for row in rows]
            images = torch.from_numpy(np.stack([image / image.max() for image in pixels]))[:, None] * 2 - 1
            part = slice(rows.start, rows.stop)
            made = one_by_one(generator.network, images, own[part], targets[number : number + 1, part])[0]
            for row, image in zip(rows, made, strict=True):
                levels = ((image[0] + 1) * 127.5).round().to(torch.uint8).numpy()
                Image.fromarray(levels).save(folder / f"png/{row}_{number}.png")
    theirs = time.perf_counter() - start
    print(f"the whole way, {len(data)} records, {len(interventions)} interventions")
    print(f"  generate, array to array              {ours:8.2f} s")
    print(f"  one by one, PNG to PNG                {theirs:8.2f} s")
    print(f"  ratio                                 {theirs / ours:8.2f}   (bar: 3)")


def parents_of(data: PreparedDataset, count: int) -> tuple[Tensor, Tensor]:
    """Own (count, P) and target (K, count, P) parents of the first records."""
    records = data.records.iloc[:count]
    changed = [SCM.intervene(records, intervention) for intervention in parse_interventions(PAPER, SCM.parents)]
    return torch.from_numpy(SCM.encode(records)), torch.from_numpy(np.stack([SCM.encode(c) for c in changed]))


MEMORY = """
import sys
from pathlib import Path
from benchmarks.counterfactuals import PAPER, SCM, SLIGHT, peak, untrained
from densecf.counterfactuals.generation import generate
from densecf.counterfactuals.interventions import parse_interventions
from densecf.data.prepared import PreparedDataset
data = PreparedDataset.open(sys.argv[1])
generator, interventions = untrained(SLIGHT), parse_interventions(PAPER, SCM.parents)
Path("/proc/self/clear_refs").write_text("5")  # imports took more than is held now: forget that peak
held = peak("VmRSS")
generate(generator, data, interventions, progress=False)
print(held, peak("VmHWM"))
"""


def peak(field: str) -> float:
    """MiB of memory held now (VmRSS), or at most since the last reset (VmHWM); Linux tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def compare_memory(folder: Path, sizes: tuple[int, int]) -> None:
    print("memory that generation takes at most, 128 px, batches of 16")
    if not Path("/proc/self/clear_refs").exists():
        print("  only Linux tells")
        return
    for count in sizes:
        data = prepare(Noise(count), folder / f"noise-{count}", size=128, workers=1, progress=False)
        done = subprocess.run([sys.executable, "-c", MEMORY, data.path], capture_output=True, text=True, check=True)
        held, most = map(float, done.stdout.split()[-2:])
        on_disk = 4 * data.images.nbytes / 2**20
        print(
            f"  {count:6,} records, {on_disk:6.1f} MiB of images: {most:8.1f} MiB, {held:.1f} of them before it began"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="64", help="network: a preset of densecf counterfactuals train")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--records", type=int, default=48, help="for the whole way")
    parser.add_argument("--memory", type=int, nargs=2, default=(200, 2000), help="two numbers of records")
    options = parser.parse_args()
    generator = untrained(COUNTERFACTUAL_PRESETS[options.preset].network)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = Noise(max(options.records, options.batch))
        data = prepare(source, folder / "data", size=generator.size, workers=1, progress=False)
        print(f"preset {options.preset}, {generator.size} px, {torch.get_num_threads()} threads")
        compare_time(generator, data, options.batch, options.repeats)
        compare_whole(generator, data, options.batch, folder)
        compare_memory(folder, tuple(options.memory))


if __name__ == "__main__":
    main()
