"""Is one run better than another on the same cases? Paired differences with patient-wise bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from densecf.errors import DataError
from densecf.evaluation.segmentation import SUBSETS

LOWER_IS_BETTER = ("hd95", "asd", "hd95_mm", "asd_mm", "n_missed")
STANDARD_COMPARISONS = (("dsc", None), ("dsc", "nf"), ("dsc", "pe"), ("hd95", None), ("asd", None))
CONFIDENCE = 0.95
FEWEST_PATIENTS = 6
"""For an interval: resampling fewer tells nothing, and Wilcoxon's test of five cannot reach 0.05."""
CHUNK = 10_000_000  # resampled counts held at once (80 MB)


@dataclass(frozen=True)
class PairedDifference:
    """What run A changes against run B, case by case.

    Attributes:
        metric: a column of ``cases.csv``; DSC in percentage points, distances in pixels or millimetres.
        subset: "nf" (no finding), "pe" (pleural effusion) or None for all cases.
        num_cases: the cases compared, of ``num_patients`` patients.
        num_undefined: cases left out because the metric is NaN in either run.
        mean: mean over cases of A - B, with its 95 % bootstrap interval ``low`` to ``high``; NaN below
            `FEWEST_PATIENTS`.
        better: the cases where A is better, in the metric's own direction; ``worse`` likewise, the rest are equal.
        p_value: Wilcoxon signed-rank test over patients, two-sided; 1 when no patient differs.
    """

    metric: str
    subset: str | None
    num_cases: int
    num_patients: int
    num_undefined: int
    mean: float
    low: float
    high: float
    better: int
    worse: int
    p_value: float

    @property
    def interval(self) -> tuple[float, float] | tuple[None, None]:
        """``low`` and ``high``, or nothing where there are too few patients."""
        return (self.low, self.high) if self.num_patients >= FEWEST_PATIENTS else (None, None)

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def paired_differences(
    cases_a: pd.DataFrame,
    cases_b: pd.DataFrame,
    metric: str = "dsc",
    subset: str | None = None,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two runs on the same cases.

    Cases of one patient are not independent, so the bootstrap draws patients, each with all its cases
    (cluster bootstrap, percentile interval), and the Wilcoxon test sees one mean difference a patient.

    Args:
        cases_a: the ``cases.csv`` of run A: ``case``, ``patient_id``, the metric and, for a subset,
            ``pleural_effusion``. The order of the rows does not matter.
        cases_b: the same of run B.
        metric: a column of both tables.
        subset: "nf" or "pe" to look at these cases only, by ``pleural_effusion`` of run A.
        num_resamples: bootstrap samples.
        seed: of the bootstrap.

    Raises:
        DataError: the runs hold different cases, a case twice or under two patients, no such column, or no case to
            compare.
    """
    pairs = _match(cases_a, cases_b, metric, subset)
    pairs = pairs.assign(difference=pairs["a"] - pairs["b"])
    defined = pairs.dropna(subset="difference")
    if defined.empty:
        what = f" with {subset.upper()}" if subset else ""
        raise DataError(
            f"there is no case{what} with a defined {metric} in both runs; compare another metric or subset"
        )
    difference = defined["difference"].to_numpy(dtype=float)
    by_patient = defined.groupby("patient_id")["difference"]
    low = high = np.nan
    if by_patient.ngroups >= FEWEST_PATIENTS:
        low, high = _bootstrap_interval(by_patient.sum().to_numpy(), by_patient.count().to_numpy(), num_resamples, seed)
    gain = -difference if metric.endswith(LOWER_IS_BETTER) else difference
    return PairedDifference(
        metric=metric,
        subset=subset,
        num_cases=len(defined),
        num_patients=by_patient.ngroups,
        num_undefined=len(pairs) - len(defined),
        mean=float(difference.mean()),
        low=low,
        high=high,
        better=int((gain > 0).sum()),
        worse=int((gain < 0).sum()),
        p_value=_wilcoxon(by_patient.mean().to_numpy()),
    )


def compare_cases(cases_a: pd.DataFrame, cases_b: pd.DataFrame, seed: int = 0) -> list[PairedDifference]:
    """The comparisons of the paper's Table 2: DSC, DSC_NF, DSC_PE, HD95, ASD; subsets without a case are left out."""
    matched = _match(cases_a, cases_b, "dsc", None)
    flags = set(matched["pleural_effusion"]) if "pleural_effusion" in matched else set()
    return [
        paired_differences(cases_a, cases_b, metric, subset, seed=seed)
        for metric, subset in STANDARD_COMPARISONS
        if subset is None or SUBSETS[subset] in flags
    ]


def _match(cases_a: pd.DataFrame, cases_b: pd.DataFrame, metric: str, subset: str | None) -> pd.DataFrame:
    """One row a case: case, patient_id, a, b and pleural_effusion where run A has it."""
    if subset is not None and subset not in SUBSETS:
        raise DataError(f"unknown subset {subset!r}; choose one of {sorted(SUBSETS)} or none")
    wanted = ["case", "patient_id", metric, *(["pleural_effusion"] if subset else [])]
    for run, cases in (("A", cases_a), ("B", cases_b)):
        missing = [name for name in wanted if name not in cases]
        if missing:
            raise DataError(f"the cases of run {run} lack the columns {missing}; they have {list(cases.columns)}")
        twice = cases["case"][cases["case"].duplicated()]
        if len(twice):
            raise DataError(f"run {run} holds cases more than once: {_some(twice)}; every case may have one row")
    # As text: one of the tables may come from a CSV file that turned "017" or "17" into a number.
    a, b = (cases.assign(case=cases["case"].astype(str)).set_index("case") for cases in (cases_a, cases_b))
    only_a, only_b = a.index.difference(b.index), b.index.difference(a.index)
    if len(only_a) or len(only_b):
        raise DataError(
            f"the two runs hold different cases: only in run A: {_some(only_a)}; only in run B: {_some(only_b)}. "
            "Compare runs that were fine-tuned with the same table, selection and folds file"
        )
    b = b.loc[a.index]
    moved = a.index[a["patient_id"].astype(str) != b["patient_id"].astype(str)]
    if len(moved):
        raise DataError(f"the two runs disagree on the patient of these cases: {_some(moved)}")
    matched = pd.DataFrame({"patient_id": a["patient_id"].astype(str), "a": a[metric], "b": b[metric]})
    if "pleural_effusion" in a:
        matched["pleural_effusion"] = a["pleural_effusion"]
    if subset is not None:
        matched = matched[matched["pleural_effusion"] == SUBSETS[subset]]
    return matched.sort_index().reset_index()


def _bootstrap_interval(sums: np.ndarray, counts: np.ndarray, num_resamples: int, seed: int) -> tuple[float, float]:
    """Interval of the mean over cases when patients are drawn with replacement; sums, counts (P,) a patient."""
    rng = np.random.default_rng(seed)
    num_patients = len(sums)
    means = []
    for start in range(0, num_resamples, step := max(1, CHUNK // num_patients)):
        drawn = rng.multinomial(num_patients, np.full(num_patients, 1 / num_patients), min(step, num_resamples - start))
        means.append((drawn @ sums) / (drawn @ counts))
    low, high = np.quantile(np.concatenate(means), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _wilcoxon(differences: np.ndarray) -> float:
    if not np.any(differences):
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences).pvalue)


def _some(ids: Sequence | pd.Series | pd.Index, most: int = 10) -> str:
    named = ", ".join(str(name) for name in list(ids)[:most])
    return (named or "none") + (f" and {len(ids) - most} more" if len(ids) > most else "")
