"""VinDr-Mammo: breast-level annotations and the DICOM tags of each image; see ``mappings/vindr-mammo.yaml``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from densecf.data.csv_table import CsvTable
from densecf.data.mapping import builtin_mapping
from densecf.data.readers.joining import check_cells, find_file, look_up, open_table, read_ages
from densecf.data.readers.published import PublishedDataset

KEY, SERIES, MODEL, AGE = "SOP Instance UID", "Series Instance UID", "Manufacturer's Model Name", "Patient's Age"


def read_tables(tables: Sequence[Path]) -> CsvTable:
    """One row an image, in the order of the annotations, on which the published split depends."""
    annotations = open_table(find_file(tables, ("breast-level_annotations.csv",)), ["image_id"])
    tags = open_table(find_file(tables, ("metadata.csv",)), [KEY, SERIES, MODEL])
    tags = tags.take(np.flatnonzero(tags.content.frame[KEY].isin(annotations.content.frame["image_id"])))
    if AGE in tags.content.frame:
        tags = read_ages(tags, AGE)
    else:
        tags = tags.with_columns({AGE: [""] * len(tags.content.frame)})
    columns = [SERIES, MODEL, AGE]
    check_cells(tags, columns, builtin_mapping("vindr-mammo"))
    return look_up(annotations, "image_id", tags, KEY, columns).content


VINDR_MAMMO = PublishedDataset(
    "vindr-mammo", "VinDr-Mammo", "breast-level_annotations.csv, with metadata.csv beside", read=read_tables
)
