"""What the paper on dense counterfactual pretraining and its authors' code report, for standing beside our own.

Rows go by `densecf.benchmark.protocols.TITLES`; the paper's "CheXMask" is "Silver masks". Measures go by the keys of
`densecf.evaluation.tables.COLUMNS`. Sources: Tables 1 and 2 of the paper; the tables in ``analysis/latex`` of
https://github.com/lafarguem/cf-dense-contrastive-learning. All of it is measured on PadChest at 224 px, fine-tuned on
70 manual masks in five folds, each measure at its best epoch on the held-out fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Published:
    """A printed figure.

    Attributes:
        mean: as printed.
        std: over folds, as printed; None where none is given.
        misprint: what the authors' log has instead; empty where it agrees.
    """

    mean: float
    std: float | None = None
    misprint: str = ""


def _table_2(*figures: tuple[float, float], misprint: str = "") -> Mapping[str, Published]:
    keys = ("dsc", "dsc_nf", "dsc_pe", "hd95", "asd")
    row = {key: Published(*figure) for key, figure in zip(keys, figures, strict=True)}
    if misprint:
        row["dsc_pe"] = Published(*figures[2], misprint)
    return MappingProxyType(row)


TABLE_1: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {
        "DVD-CL": {"separation": Published(0.83), "purity": Published(0.6979)},
        "MVD-CL": {
            "separation": Published(1.39),
            "purity": Published(0.6391, misprint="the authors' log has the purity 0.6361 of MVD-CL"),
        },
        "S-DVD-CL": {"separation": Published(17.07), "purity": Published(0.9581)},
        "S-MVD-CL": {"separation": Published(12.16), "purity": Published(0.9705)},
    }
)
"""The embeddings before fine-tuning. Their "d/sigma" comes from code that divides by the variance."""

LINEAR_PROBE = MappingProxyType(
    {
        "DVD-CL": Published(93.48),
        "MVD-CL": Published(67.64),
        "S-DVD-CL": Published(96.43),
        "S-MVD-CL": Published(97.52),
    }
)
"""DSC (%) of a linear pixel probe on the silver masks; from ``mains-lp_table.tex``, not in the paper."""

TABLE_2: Mapping[str, Mapping[str, Published]] = MappingProxyType(
    {
        "None": _table_2(
            *((87.05, 4.34), (93.59, 1.28), (84.76, 1.28), (21.9, 8.0), (5.39, 2.05)),
            misprint="the authors' log has the std 5.63 for DSC_PE of None",
        ),
        "SimCLR": _table_2((90.90, 2.94), (96.71, 0.28), (88.61, 4.15), (11.9, 5.3), (3.64, 1.63)),
        "VADeR": _table_2((92.26, 2.66), (97.22, 0.16), (90.33, 3.68), (10.4, 3.7), (2.79, 1.14)),
        "DVD-CL": _table_2((92.76, 2.23), (97.36, 0.14), (91.08, 3.18), (10.5, 3.6), (2.86, 1.04)),
        "MVD-CL": _table_2((92.27, 2.73), (97.18, 0.25), (90.36, 3.79), (9.1, 4.9), (2.61, 1.16)),
        "Silver masks": _table_2((93.65, 2.33), (97.81, 0.20), (92.02, 3.23), (7.3, 1.8), (2.46, 1.26)),
        "SSDCL": _table_2((92.91, 2.77), (97.58, 0.17), (91.10, 3.84), (15.3, 5.0), (3.31, 1.20)),
        "S-DVD-CL": _table_2((93.15, 2.61), (97.62, 0.11), (91.43, 3.65), (8.0, 3.9), (2.96, 1.97)),
        "S-MVD-CL": _table_2((93.93, 1.92), (97.75, 0.09), (92.43, 2.67), (7.3, 3.4), (2.05, 0.74)),
    }
)
"""After fine-tuning; mean and std over five folds."""

ABLATION: Mapping[tuple[str, str], Published] = MappingProxyType(
    {
        ("DVD-CL", ""): Published(85.80),
        ("DVD-CL", "C"): Published(90.62),
        ("DVD-CL", "CE"): Published(92.26, 2.66),  # Table 2 calls it VADeR
        ("DVD-CL", "RCE"): Published(92.51, 3.01),
        ("DVD-CL", "SD"): Published(89.14),
        ("DVD-CL", "DRCE"): Published(92.42),
        ("DVD-CL", "SDRCE"): Published(92.76, 2.23),
        ("MVD-CL", ""): Published(87.34),
        ("MVD-CL", "RCE"): Published(91.79, 2.71),
        ("MVD-CL", "SD"): Published(89.14),
        ("MVD-CL", "DRCE"): Published(91.69),
        ("MVD-CL", "SDRCE"): Published(92.27, 2.73),
        ("S-DVD-CL", ""): Published(92.14),
        ("S-DVD-CL", "C"): Published(93.89, 2.15),
        ("S-DVD-CL", "RCE"): Published(92.76, 2.77),
        ("S-DVD-CL", "SD"): Published(92.85),
        ("S-DVD-CL", "DRCE"): Published(93.73),
        ("S-DVD-CL", "SDRCE"): Published(93.15, 2.61),
        ("S-MVD-CL", ""): Published(91.96),
        ("S-MVD-CL", "C"): Published(93.86, 2.34),
        ("S-MVD-CL", "E"): Published(92.91, 2.77),  # Table 2 calls it SSDCL
        ("S-MVD-CL", "RCE"): Published(93.31, 2.50),
        ("S-MVD-CL", "SD"): Published(93.10),
        ("S-MVD-CL", "DRCE"): Published(93.95),
        ("S-MVD-CL", "SDRCE"): Published(93.93, 1.92),
    }
)
"""DSC (%) by row and view code, from ``*-ablations_table_group1.tex``: the best of several runs each."""


def misprints() -> list[str]:
    """Where a printed figure and the authors' log differ, one sentence each."""
    figures = [figure for table in (TABLE_1, TABLE_2) for row in table.values() for figure in row.values()]
    return [figure.misprint for figure in figures if figure.misprint]
