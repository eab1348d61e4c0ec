"""Conditions choose the rows they say, and mistakes in them are named."""

import numpy as np
import pandas as pd
import pytest

from densecf.data.query import select
from densecf.errors import DataError

RECORDS = pd.DataFrame(
    {
        "source": ["montgomery", "shenzhen", "shenzhen", "nih"],
        "scanner": ["A", "B, room 2", "", "Philips DR"],
        "pleural_effusion": [1.0, 0.0, np.nan, 0.0],
        "age": [60.0, 59.5, np.nan, 80.0],
        "width": ["256", "64", "", "128"],
        "flag": [True, False, True, False],
    },
    index=[3, 5, 7, 9],
)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("", [3, 5, 7, 9]),
        ("source=montgomery", [3]),
        ("source==montgomery", [3]),
        (" source = montgomery ", [3]),
        ("source!=shenzhen", [3, 9]),
        ("pleural_effusion=1", [3]),
        ("pleural_effusion=0", [5, 9]),
        ("pleural_effusion!=1", [5, 7, 9]),
        ("pleural_effusion=", [7]),
        ("age>=60", [3, 9]),
        ("age>60", [9]),
        ("age<60", [5]),
        ("age<=59.5", [5]),
        ("width>100", [3, 9]),
        ("scanner=Philips DR", [9]),
        ('scanner="B, room 2"', [5]),
        ("scanner=", [7]),
        ("flag=true", [3, 7]),
        ("source=shenzhen,age>50", [5]),
        ('scanner!="B, room 2", age>=60 ,pleural_effusion=0', [9]),
        ("age>200", []),
    ],
)
def test_rows(expression, rows):
    chosen = select(RECORDS, expression)
    assert chosen.dtype == bool
    assert RECORDS.index[chosen].tolist() == rows


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("site=a", "no column 'site'; the columns are: source, scanner"),
        ("source=Montgomery", "source is never 'Montgomery'; it is: shenzhen, montgomery, nih"),
        ("source!=padchest", "source is never 'padchest'"),
        ("pleural_effusion=2", "never '2'; it is: 0, 1, unknown"),
        ("age>old", "needs a number behind it"),
        ("source>3", "source is not a column of numbers"),
        ("source", "'source' cannot be read"),
        ("age>=60,,", "',' cannot be read"),
        ("=montgomery", "cannot be read"),
        ('scanner="A', "cannot be read"),
    ],
)
def test_mistakes(expression, message):
    with pytest.raises(DataError, match=message):
        select(RECORDS, expression)
