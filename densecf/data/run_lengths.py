"""Masks as run lengths, the way CheXmask and Kaggle write them: ``start length start length ...``.

Starts count from 1 along the rows of an (H, W) image (row-major); every run is a stretch of mask pixels.
"""

import numpy as np

from densecf.errors import DataError

LARGEST = 1 << 27  # pixels; more is a damaged height or width
_MOST_DIGITS = 12


def encode(mask: np.ndarray) -> str:
    """The run lengths of a mask (H, W); an empty mask gives "". `decode` is the inverse."""
    inside = np.concatenate([[0], np.asarray(mask, bool).ravel().view(np.int8), [0]])
    edges = np.flatnonzero(np.diff(inside))
    runs = edges.reshape(-1, 2)
    return " ".join(f"{start + 1} {end - start}" for start, end in runs.tolist())


def decode(rle: str, height: int, width: int) -> np.ndarray:
    """The mask of run lengths.

    Args:
        rle: the text; empty for an empty mask.
        height, width: of the image they were made on.

    Returns:
        (height, width) booleans.

    Raises:
        DataError: not pairs of positive whole numbers, runs that overlap, go backwards or end beyond the
            image, or a size that no radiograph has. The message says which run; the caller knows the file.
    """
    for name, side in (("height", height), ("width", width)):
        if not isinstance(side, int | np.integer) or side < 1:
            raise DataError(f"the {name} of the mask is {side!r}, expected a whole number of at least 1")
    height, width = int(height), int(width)
    if height * width > LARGEST:
        raise DataError(f"the mask has {height:,} x {width:,} px, expected at most {LARGEST:,} px")
    numbers = _numbers(rle)
    if len(numbers) % 2:
        raise DataError(f"the run lengths are {len(numbers):,} numbers, expected pairs of start and length (cut off?)")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    ends = starts + lengths
    _check(starts, lengths, ends, height, width)
    mask = np.zeros(height * width, bool)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        mask[start:end] = True
    return mask.reshape(height, width)


def _numbers(rle: str) -> np.ndarray:
    if not isinstance(rle, str):
        raise DataError(f"the run lengths are {rle!r}, expected text such as '7 3 17 4'")
    tokens = rle.split()
    joined = "".join(tokens)
    if tokens and not (joined.isascii() and joined.isdigit()):
        bad = next(token for token in tokens if not (token.isascii() and token.isdigit()))
        raise DataError(f"the run lengths hold {bad[:20]!r}, expected whole numbers above 0")
    longest = max(tokens, key=len, default="")
    if len(longest) > _MOST_DIGITS:
        raise DataError(f"the run lengths hold {longest[:20]!r}..., a number of {len(longest)} digits")
    return np.array([int(token) for token in tokens], np.int64)


def _check(starts: np.ndarray, lengths: np.ndarray, ends: np.ndarray, height: int, width: int) -> None:
    """Raises DataError at the first wrong run."""
    before = np.concatenate([[0], ends[:-1]])
    wrong = (starts < before) | (lengths < 1) | (ends > height * width)
    if not wrong.any():
        return
    run = int(np.argmax(wrong))
    start, length = int(starts[run]) + 1, int(lengths[run])
    if start < 1 or length < 1:
        reason = "expected numbers of at least 1"
    elif ends[run] > height * width:
        reason = f"ends beyond the {height:,} x {width:,} px (rows x columns) of the mask"
    else:
        reason = f"begins before the run ahead of it ends at {int(before[run]):,}"
    raise DataError(f"run {run + 1:,} of the run lengths (start {start:,}, length {length:,}) {reason}")
