"""From image files to a prepared dataset: records, reading, preparing, splits. Nothing here imports torch."""

from densecf.data.counterfactual_arrays import add_counterfactuals
from densecf.data.images import read_image
from densecf.data.prepare import prepare
from densecf.data.prepared import PreparedDataset
from densecf.data.profiles import PROFILES, load_image
from densecf.data.query import select
from densecf.data.raw_image import RawImage
from densecf.data.readers import read_records
from densecf.data.sources import Sample, Source
from densecf.data.splits import Folds, check_no_leak, limit_cases, make_folds

__all__ = [
    "PROFILES",
    "Folds",
    "PreparedDataset",
    "RawImage",
    "Sample",
    "Source",
    "add_counterfactuals",
    "check_no_leak",
    "limit_cases",
    "load_image",
    "make_folds",
    "prepare",
    "read_image",
    "read_records",
    "select",
]
