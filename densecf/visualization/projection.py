"""UMAP to the plane, without its slow parts and with a start that keeps colours in place."""

import warnings

import numpy as np

from densecf.visualization.neighbours import nearest


def umap_plane(landmarks: np.ndarray, num_neighbors: int, min_dist: float, num_epochs: int, seed: int) -> np.ndarray:
    """UMAP of landmarks (n, D) to the plane (n, 2), deterministic for a seed.

    Args:
        landmarks: standardised embeddings, n > `num_neighbors`.
        num_neighbors, min_dist, num_epochs: UMAP's own.
        seed: of the optimisation.
    """
    from umap import UMAP  # two seconds of import, ten the first time: only for a new colour space

    # UMAP's exact search is a Python loop over all pairs; handing it the same neighbours saves most of its time.
    others, squared = nearest(landmarks, landmarks, num_neighbors - 1, exclude_self=True)
    indices = np.column_stack([np.arange(len(landmarks)), others]).astype(np.int32)
    distances = np.column_stack([np.zeros(len(landmarks)), np.sqrt(squared)]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*NNDescent object.*")
        reducer = UMAP(
            n_neighbors=num_neighbors,
            min_dist=min_dist,
            n_epochs=num_epochs,
            init=_principal_plane(landmarks, seed),
            random_state=seed,
            n_jobs=1,  # what a fixed seed means in UMAP anyway
            precomputed_knn=(indices, distances),
        )
        return reducer.fit_transform(landmarks)


def _principal_plane(landmarks: np.ndarray, seed: int) -> np.ndarray:
    """Where UMAP starts: the first two principal components, each with its longer tail on the positive side.

    UMAP's own spectral start scatters separate islands differently for every sample of the same pixels; from the
    principal components the same pixels keep about the same colours (benchmarks/chromap.py; Kobak and Linderman,
    "Initialization is critical for preserving global data structure in both t-SNE and UMAP", 2021).
    """
    centred = np.asarray(landmarks, np.float64) - landmarks.mean(axis=0)
    directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
    plane = np.zeros((len(landmarks), 2))
    plane[:, : directions.shape[1]] = centred @ directions
    plane *= np.where((plane**3).sum(axis=0) < 0, -1, 1)
    noise = np.random.default_rng(seed).standard_normal(plane.shape)  # equal embeddings must not start on one point
    return (plane + 1e-4 * plane.std() * noise).astype(np.float32)
