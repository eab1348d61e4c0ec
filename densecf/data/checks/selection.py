"""Which records to look at: the worst suspects, and one or more of every scanner, split and effusion."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from densecf.data.checks.counts import heading, in_words
from densecf.data.checks.findings import Finding

CELLS = ("scanner", "split", "pleural_effusion")


def suspects(findings: Sequence[Finding], most: int = 24) -> list[tuple[int, Finding]]:
    """Rows to look at with the finding that names them: each finding in turn gives its next worst, errors first.

    Rows of one finding stay together: both pictures of a duplicate.
    """
    chosen: dict[int, Finding] = {}
    for grade in ("error", "warning"):
        queues = [(finding, list(finding.rows)) for finding in findings if finding.grade == grade]
        while len(chosen) < most and any(queue for _, queue in queues):
            for finding, queue in queues:
                if queue and len(chosen) < most:
                    chosen.setdefault(queue.pop(0), finding)
    order = [id(finding) for finding in findings]
    return sorted(chosen.items(), key=lambda item: order.index(id(item[1])))


def cells(records: pd.DataFrame, most: int = 64, seed: int = 0) -> list[tuple[tuple[str, ...], int, list[int]]]:
    """Every combination of `CELLS` that occurs: its values, how many images it has, and some drawn rows.

    With more than ``most`` combinations the commonest are taken; with fewer each gets several rows, up to four.
    """
    words = pd.DataFrame({column: in_words(records, column) for column in CELLS})
    groups = {tuple(map(str, key)): np.asarray(part.index) for key, part in words.groupby(list(CELLS), sort=True)}
    common = sorted(groups, key=lambda key: -len(groups[key]))[:most]
    each = min(4, max(1, most // max(1, len(common))))
    generator = np.random.default_rng(seed)
    return [(key, len(groups[key]), generator.permutation(groups[key])[:each].tolist()) for key in sorted(common)]


def cell_title() -> str:
    """Names of the columns that make the cells."""
    return ", ".join(heading(column) for column in CELLS)
