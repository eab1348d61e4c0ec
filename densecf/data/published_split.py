"""Train, val and test drawn by scikit-learn's ``train_test_split``, as the papers' code draws them."""

import numpy as np
import pandas as pd

from densecf.data.mapping import SplitRule
from densecf.errors import DataError


def draw_split(records: pd.DataFrame, rule: SplitRule, where: str = "records") -> pd.Series:
    """Divide records into train, val and test.

    The result depends on the order in which the units first appear, as in the papers' code: keep the table's
    order, and draw before records are left out for any other reason.

    Args:
        records: the table.
        rule: what is drawn, how much of it, and the seed.
        where: the table's name for messages.

    Returns:
        (n,) text Series "train", "val" or "test".

    Raises:
        DataError: no such column, or too few units to draw from.
    """
    from sklearn.model_selection import train_test_split

    absent = [name for name in (rule.unit, rule.stratify) if name and name not in records]
    if absent:
        raise DataError(f"{where}: the split rule names {absent[0]}, which is no column of the records.")
    first = records.drop_duplicates(rule.unit)
    units = first[rule.unit].to_numpy()
    strata = first[rule.stratify].to_numpy() if rule.stratify else None
    numbers = np.arange(len(units))
    try:
        rest, test = train_test_split(numbers, test_size=rule.test, random_state=rule.seed, stratify=strata)
        kept = None if strata is None else strata[rest]
        _, val = train_test_split(rest, test_size=rule.val, random_state=rule.seed, stratify=kept)
    except ValueError as error:
        raise DataError(f"{where}: {len(units):,} values of {rule.unit} cannot be split ({error}).") from error
    names = np.full(len(units), "train", dtype=object)
    names[val], names[test] = "val", "test"
    split_of = dict(zip(units, names, strict=True))
    return pd.Series([split_of[unit] for unit in records[rule.unit]], records.index, dtype="str")
