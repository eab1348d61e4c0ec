"""What a dataset must offer before it is prepared: a records table and a way to load one row."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Sample:
    """One record at the prepared size S.

    Attributes:
        image: (S, S) float32 in [0, 1].
        mask: (S, S) uint8 class indices, or None when the record has no mask.
        affine: (3, 3) float64, prepared pixel index -> the original file's pixel index, (row, column, 1),
            pixel centres at integers.
        pixel_spacing: millimetres per prepared pixel, NaN when unknown.
        counterfactuals: name -> (S, S) float32 in [0, 1]; empty for real data.
    """

    image: np.ndarray
    mask: np.ndarray | None
    affine: np.ndarray
    pixel_spacing: float
    counterfactuals: dict[str, np.ndarray] = field(default_factory=dict)


class Source(Protocol):
    """A table of image files, or the phantom.

    Must be picklable: worker processes get a copy. ``load`` is deterministic: the same row and size
    give the same sample, wherever and in whatever order it is called.

    Attributes:
        records: the table of `densecf.data.records`; a row has a mask exactly when ``mask_kind`` is not "".
        class_names: "background" first.
        counterfactual_source: a short name such as "truth", or "" when there are none.
        counterfactual_names: the interventions, such as "scanner=other".
    """

    records: pd.DataFrame
    class_names: tuple[str, ...]
    counterfactual_source: str
    counterfactual_names: tuple[str, ...]

    def load(self, row: int, size: int) -> Sample:
        """Row ``row`` at ``size`` x ``size`` pixels.

        Raises:
            DataError: the record cannot be used; the message names the file and the reason.
        """
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the content, as JSON values; equal fingerprints mean equal samples.

        A source that reads files says "profile": [name, version].
        """
        ...
