"""CHRO-map: does placing pixels by their neighbours agree with UMAP on all pixels, and how long does it take?

    python -m benchmarks.chromap                        # built-in embeddings
    python -m benchmarks.chromap --features maps.npy    # (D, h, w) embeddings of a run, h * w at most about 10,000

Agreement: UMAP on every pixel is the reference, twice: as it comes (spectral start), and with the start from principal
components that the colour space uses. The colour space (UMAP on a sample, the rest placed) and PCA are held against
both, in how well neighbourhoods survive and in how far pixels move on the disc, after the best rotation, reflection
and scaling, from seed 0. The rows of the other seeds say how far UMAP moves them by itself.

Time: fresh interpreters, from start to PNG, embeddings of 224 x 224 x 128 given.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from densecf.visualization.colour_space import ColourSpace, disc_colours
from densecf.visualization.ellipse import enclosing_ellipse
from densecf.visualization.neighbours import nearest

SIZE = 96
NEIGHBOURS = 15


def radiograph_embeddings(size: int, dimension: int = 128, seed: int = 0) -> np.ndarray:
    """Embeddings (D, size, size) as a pixel method leaves them: class, place and texture through a random network."""
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, size),) * 2, indexing="ij")
    sides = [1 - np.hypot((columns - centre) / 0.33, (rows + 0.05) / 0.65) for centre in (-0.45, 0.45)]
    inputs = [1 / (1 + np.exp(-12 * side)) for side in sides] + [0.7 * rows, 0.7 * np.abs(columns)]
    inputs += [0.25 * rng.standard_normal((size, size)) for _ in range(4)]
    hidden = np.tanh(np.stack(inputs, axis=-1).reshape(-1, 8) @ rng.standard_normal((8, 256)))
    features = hidden @ rng.standard_normal((256, dimension)) / 16
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).T.reshape(-1, size, size).astype(np.float32)


def preserved(features: np.ndarray, plane: np.ndarray, count: int = 1000) -> float:
    """Share of each pixel's nearest neighbours that are among as many nearest in the plane, over `count` pixels."""
    rows = np.random.default_rng(0).choice(len(features), min(count, len(features)), replace=False)
    before, _ = nearest(features[rows], features, NEIGHBOURS + 1)
    after, _ = nearest(plane[rows], plane, NEIGHBOURS + 1)
    return float(np.mean([len(np.intersect1d(a, b)) - 1 for a, b in zip(before, after, strict=True)]) / NEIGHBOURS)


def aligned(disc: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """`disc` after the rotation, reflection, shift and scaling that bring it closest to `reference`."""
    moving, fixed = disc - disc.mean(axis=0), reference - reference.mean(axis=0)
    left, values, right = np.linalg.svd(moving.T @ fixed)
    return moving @ left @ right * (values.sum() / (moving**2).sum()) + reference.mean(axis=0)


def umap_on_all(features: np.ndarray, seed: int, init: str) -> np.ndarray:
    import umap

    standardised = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plane = umap.UMAP(random_state=seed, init=init).fit_transform(standardised)
    return enclosing_ellipse(plane).to_disc(plane).astype(np.float32)


def colour_space_on_some(features: np.ndarray, num_fit: int, seed: int) -> np.ndarray:
    return ColourSpace.fit(features, num_fit=num_fit, seed=seed).place(features)


def agreement(features: np.ndarray, num_fits: list[int]) -> None:
    rng = np.random.default_rng(0)
    subset = rng.choice(len(features), min(3000, len(features)), replace=False)
    print(f"Agreement on {len(features)} pixels of {features.shape[1]} features")
    print("Moved: mean distance on the unit disc, and in brackets mean difference of the colour channels (0 to 255)")
    print("| mapping | time [s] | trustworthiness | neighbours kept | moved from spectral | moved from pca |")
    print("|---|---|---|---|---|---|")
    references: dict[str, np.ndarray] = {}

    def row(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        start = time.perf_counter()
        disc = make()
        seconds = time.perf_counter() - start
        moved = []
        for reference in references.values():
            close = aligned(disc, reference)
            colour = np.abs(disc_colours(close).astype(float) - disc_colours(reference)).mean()
            moved.append(f"{np.linalg.norm(close - reference, axis=1).mean():.3f} ({colour:.0f})")
        moved += ["-"] * (2 - len(moved))
        trust = trustworthiness(features[subset], disc[subset], n_neighbors=NEIGHBOURS)
        print(
            f"| {name} | {seconds:.1f} | {trust:.4f} | {preserved(features, disc):.3f} | {' | '.join(moved)} |",
            flush=True,
        )
        return disc

    for init in ("spectral", "pca"):
        references[init] = row(f"UMAP on all, {init}, seed 0", partial(umap_on_all, features, 0, init))
    for init in ("spectral", "pca"):
        for seed in (1, 2):
            row(f"UMAP on all, {init}, seed {seed}", partial(umap_on_all, features, seed, init))
    for num_fit in num_fits:
        for seed in range(3):
            row(f"colour space, {num_fit} pixels, seed {seed}", partial(colour_space_on_some, features, num_fit, seed))
    row("PCA", lambda: PCA(2, random_state=0).fit_transform(features).astype(np.float32))


COMMAND = """
import sys, numpy as np
from densecf.visualization.chromap import MapEntry, make_chromaps, save_overlays
from densecf.visualization.chromap_figure import save_figure
from densecf.visualization.colour_space import ColourSpace
folder, saved = sys.argv[1], sys.argv[2] == "saved"
features = np.load(folder + "/features.npy")
space = ColourSpace.load(folder + "/space.safetensors") if saved else None
maps = make_chromaps([MapEntry("image", np.zeros(features.shape[1:], np.float32), features)], space=space)
save_overlays(maps, save_figure(maps, folder + "/map.png"))
maps.space.save(folder + "/space.safetensors")
"""


def timing(repeats: int = 3) -> None:
    print("\nTime of 224 x 224 x 128 embeddings to PNG, interpreter start included (no network)")
    print("| colour space | best [s] | worst [s] |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "features.npy"), radiograph_embeddings(224))
        for kind in ("fresh", "saved"):
            seconds = []
            for _ in range(repeats):
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", COMMAND, folder, kind], check=True)
                seconds.append(time.perf_counter() - start)
            print(f"| {kind} | {min(seconds):.1f} | {max(seconds):.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Agreement and speed of the CHRO-map's colour space.")
    parser.add_argument("--features", type=Path, help="(D, h, w) embeddings as .npy; default: built-in ones")
    parser.add_argument("--num-fit", type=int, nargs="+", default=[2000, 4000], help="sizes of UMAP's sample")
    parser.add_argument("--only", choices=["agreement", "timing"], help="one of the two parts")
    options = parser.parse_args()
    maps = np.load(options.features, allow_pickle=False) if options.features else radiograph_embeddings(SIZE)
    pixels = np.ascontiguousarray(maps.reshape(len(maps), -1).T, dtype=np.float32)
    if options.only != "timing":
        agreement(pixels, options.num_fit)
    if options.only != "agreement":
        timing()


if __name__ == "__main__":
    main()
