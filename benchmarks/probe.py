"""A linear probe over fractions and seeds against one pass of the images: ``python -m benchmarks.probe``.

The probe: 4 fractions, 3 seeds and 7 penalties of `densecf.evaluation.linear_probe` on features that have to be
extracted first. The alternative: extracting the same features, and nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from densecf.data.label_split import split_labels
from densecf.data.labels import read_labels
from densecf.data.prepare import prepare
from densecf.data.readers.phantom import PhantomSource
from densecf.evaluation.image_features import FeatureStore, extract_features, stored_features
from densecf.evaluation.label_efficiency import LinearFits, Task, TestSet, measure, summarise
from densecf.models.backbone import build_image_encoder

FRACTIONS, SEEDS = (0.05, 0.1, 0.25, 1.0), (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--encoder", default="resnet18")
    options = parser.parse_args()

    encoder = build_image_encoder(options.encoder, options.size).eval()
    with tempfile.TemporaryDirectory() as folder:
        source = PhantomSource(num_pretraining=options.images, seed=0)
        data = prepare(source, Path(folder) / "data", size=options.size, progress=False)
        labels = read_labels(data.records, "pleural_effusion")
        split = split_labels(data.records, labels, balance="scanner")
        strata = {"scanner": data.records["scanner"].to_numpy(dtype=object)[split.test]}
        test = TestSet("phantom", split.test, labels.codes[split.test], strata)
        task = Task(data.records, labels, split, [test], FRACTIONS, SEEDS)
        extract_features(encoder, data, range(64), progress=False)  # warm
        alone = seconds(lambda: extract_features(encoder, data, range(len(data)), progress=False))
        store = FeatureStore(Path(folder) / "features", "benchmark")
        first = seconds(lambda: probe(task, store, lambda: encoder, data))
        second = seconds(lambda: probe(task, store, lambda: encoder, data))
    print(f"{options.encoder}, {len(data)} images of {options.size} px, {len(FRACTIONS)} fractions, {len(SEEDS)} seeds")
    print(f"  one pass of the images              {alone:8.3f} s")
    print(f"  probe, features included            {first:8.3f} s")
    print(f"  ratio                               {first / alone:8.3f}   (bar: 2)")
    print(f"  probe, features kept                {second:8.3f} s")


def probe(task: Task, store: FeatureStore, load_encoder, data) -> None:
    learning = np.sort(np.concatenate([task.split.train, task.split.val]))
    rows = np.concatenate([learning, task.split.test]).tolist()
    features = stored_features(store, load_encoder, data, rows, progress=False)
    fits = LinearFits(task, features[: len(learning)], learning, [features[len(learning) :]])
    summarise(measure("benchmark", task, fits)[0])


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
