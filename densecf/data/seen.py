"""The records that a training learnt from, as its run folder says: what leak checks are made against."""

from pathlib import Path

import pandas as pd

from densecf.data.csv_table import read_csv_table
from densecf.errors import ConfigError, DataError

SEEN = "records.csv"
"""In the folder of every pretraining and counterfactual model."""
_COLUMNS = ["image", "patient_id"]


def seen_records(run: Path) -> pd.DataFrame:
    """``image`` and ``patient_id`` of every record that a run learnt from, as text: "NA" and "017" are names.

    Args:
        run: folder of the run.

    Raises:
        ConfigError: the run does not say.
        DataError: the file is damaged.
    """
    path = run / SEEN
    if not path.is_file():
        raise ConfigError(
            f"{path}: missing, so it cannot be told which patients the weights beside it were trained on; "
            "keep the whole run folder together"
        )
    table = read_csv_table(path)
    if list(table.frame.columns) != _COLUMNS:
        raise DataError(
            f"{path}: expected the columns {', '.join(_COLUMNS)}, found {', '.join(table.frame.columns)}; "
            "copy the run folder again from where it was made"
        )
    empty = (table.frame == "").any(axis=1)
    if empty.any():
        line = table.lines[int(empty.to_numpy().argmax())]
        raise DataError(f"{path}: line {line} lacks its image or patient; copy the run folder again")
    return table.frame
