"""The same picture twice: exactly (checksums of the stored pixels) or nearly (another gain, format or size).

Near duplicates are looked for among the images' low-frequency cosines, centred and scaled to the spread over the
dataset, which sets apart even radiographs of the same patient; every candidate is then compared pixel by pixel.
A copy that is turned, flipped or cropped is not found.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter

from densecf.data.checks.findings import EXAMPLES, Finding, Result
from densecf.data.checks.measure import Measures
from densecf.data.prepared import PreparedDataset

ALIKE = 0.93  # cosine of candidates; different radiographs stay below about 0.91
COARSE, FINE = 0.985, 0.6  # correlation of the pixels, and of their detail, that makes a candidate a near duplicate
MOST = 20_000  # candidates that are compared
_FEW = 64  # with fewer images the spread over the dataset means nothing, and all pairs are compared
_BLOCK = 2048


@dataclass(frozen=True)
class Pair:
    """Two rows that show the same picture; ``likeness`` is 1 for equal pixels."""

    first: int
    second: int
    likeness: float


def check_duplicates(data: PreparedDataset, measures: Measures, *, progress: bool = True) -> Result:
    """Pictures that occur twice: an error under two patients or in two splits, else a warning."""
    usable = np.flatnonzero(~measures.constant)  # constant images are reported as such
    exact = equal_pairs([measures.digest[row] for row in usable], usable)
    result = Result(findings=_findings(data.records, exact, "equal, pixel by pixel"))
    seen = {row for pair in exact for row in (pair.first, pair.second)}
    first_of = _first_of_each(usable, measures.digest)  # equal ones need no second comparison
    near, left_out = near_pairs(data, first_of, measures.look[first_of], progress=progress)
    result.findings += _findings(data.records, near, "the same but for gain, noise or compression")
    if left_out:
        message = f"only the {MOST:,} most alike pairs of images were compared; {left_out:,} more are much alike."
        result.findings.append(Finding("warning", "duplicates", message, left_out))
    if not seen and not near:
        result.findings.append(Finding("note", "duplicates", "no picture occurs twice.", 0))
    return result


def equal_pairs(digests: Sequence[bytes], rows: np.ndarray) -> list[Pair]:
    """Each row whose checksum an earlier one has, with the first that has it."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for digest, row in zip(digests, rows.tolist(), strict=True):
        groups[digest].append(row)
    return [Pair(group[0], row, 1.0) for group in groups.values() for row in group[1:]]


def _first_of_each(rows: np.ndarray, digests: Sequence[bytes]) -> np.ndarray:
    first: dict[bytes, int] = {}
    for row in rows.tolist():
        first.setdefault(digests[row], row)
    return np.array(sorted(first.values()), dtype=int)


def near_pairs(
    data: PreparedDataset, rows: np.ndarray, look: np.ndarray, *, progress: bool = True
) -> tuple[list[Pair], int]:
    """Pairs among ``rows`` that are the same picture, the most alike first, and how many candidates were not compared.

    Args:
        data: for the pixels of candidates, two images at a time.
        rows: (m,) rows with different pixels.
        look: (m, d) their descriptions.
        progress: show a progress bar.
    """
    from tqdm import tqdm

    if len(rows) < 2:
        return [], 0
    few = len(rows) <= _FEW
    vectors = look if few else spread_out(look)
    blocks = -(-len(rows) // _BLOCK)
    found = tqdm(
        alike(vectors, -1.0 if few else ALIKE), total=blocks, desc="compare", unit="block", disable=not progress
    )
    kept, total = np.empty((0, 3)), 0
    for candidates in found:
        total += len(candidates)
        kept = np.concatenate([kept, candidates])
        if len(kept) > MOST:
            kept = kept[np.argsort(-kept[:, 2], kind="stable")[:MOST]]
    pairs = []
    for i, j, _ in kept:
        first, second = sorted((int(rows[int(i)]), int(rows[int(j)])))
        coarse, fine = likeness(data.image(first), data.image(second))
        if coarse >= COARSE and fine >= FINE:
            pairs.append(Pair(first, second, coarse))
    return sorted(pairs, key=lambda pair: (-pair.likeness, pair.first, pair.second)), total - len(kept)


def spread_out(look: np.ndarray) -> np.ndarray:
    """(m, d) unit vectors: each cosine centred on the dataset's mean, and scaled to its spread."""
    centred = look - look.mean(axis=0)
    scaled = centred / np.maximum(centred.std(axis=0), 1e-6)
    return (scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def alike(vectors: np.ndarray, threshold: float) -> Iterator[np.ndarray]:
    """All pairs of unit vectors with a cosine of at least ``threshold``, block by block: (p, 3) with i, j, cosine.

    Vectors that near cannot differ by more than sqrt(2 - 2 threshold) in any direction, so after sorting along the
    direction of largest spread only neighbours are compared.
    """
    reach = np.sqrt(max(0.0, 2 - 2 * threshold)) + 1e-5
    along = vectors @ _main_direction(vectors)
    order = np.argsort(along, kind="stable")
    vectors, along = vectors[order], along[order]
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        end = int(np.searchsorted(along, along[start + len(block) - 1] + reach, side="right"))
        parts = []
        for other in range(start, end, _BLOCK):
            cosines = block @ vectors[other : min(end, other + _BLOCK)].T
            if other == start:
                cosines[np.tri(*cosines.shape) > 0] = -2  # each pair once, none with itself
            i, j = np.nonzero(cosines >= threshold)
            parts.append(np.column_stack([order[start + i], order[other + j], cosines[i, j]]))
        yield np.concatenate(parts)


def _main_direction(vectors: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(axis=0)
    return np.linalg.eigh(centred.T @ centred)[1][:, -1]


def likeness(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Correlation of two images (S, S), and of their detail: what a mean over 5 x 5 pixels takes away."""
    return _correlation(a, b), _correlation(a - uniform_filter(a, 5), b - uniform_filter(b, 5))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / length if length > 0 else 0.0


def _findings(records: pd.DataFrame, pairs: list[Pair], how: str) -> list[Finding]:
    """One finding for pairs of two patients, one for those of one patient in two splits, and one for the rest."""
    patient, split = records["patient_id"].tolist(), records["split"].tolist()
    kinds: dict[str, list[Pair]] = {"patients": [], "splits": [], "same": []}
    for pair in pairs:
        if patient[pair.first] != patient[pair.second]:
            kinds["patients"].append(pair)
        else:
            kinds["splits" if split[pair.first] != split[pair.second] else "same"].append(pair)
    across = sum(split[pair.first] != split[pair.second] for pair in kinds["patients"])
    findings = []
    if kinds["patients"]:
        message = f"pictures stand under two patients ({how}). One of the ids is wrong, or one image too many." + (
            f" {across:,} of them lie in two splits: what is measured on one was seen in the other." if across else ""
        )
        findings.append(_finding(records, "error", message, kinds["patients"]))
    if kinds["splits"]:
        message = f"pictures of one patient lie in two splits ({how}): what is measured on one was seen in the other."
        findings.append(_finding(records, "error", message, kinds["splits"]))
    if kinds["same"]:
        message = f"pictures occur twice under one patient ({how}). Keep one of them, unless that is meant."
        findings.append(_finding(records, "warning", message, kinds["same"]))
    return findings


def _finding(records: pd.DataFrame, grade, message: str, pairs: list[Pair]) -> Finding:
    def name(row: int) -> str:
        record = records.iloc[row]
        return f"{record['image']} (patient {record['patient_id']}, {record['split']})"

    examples = tuple(
        f"{name(pair.first)} and {name(pair.second)}"
        + (f": correlation {pair.likeness:.3f}" if pair.likeness < 1 else "")
        for pair in pairs[:EXAMPLES]
    )
    rows = tuple(dict.fromkeys(row for pair in pairs for row in (pair.first, pair.second)))
    return Finding(grade, "duplicates", message, len(pairs), examples, rows, "occurs twice")
