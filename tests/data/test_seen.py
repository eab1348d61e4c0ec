"""Whom a run learnt from."""

import pytest

from densecf.data.seen import SEEN, seen_records
from densecf.errors import ConfigError, DataError


def test_names_stay_names(tmp_path):
    (tmp_path / SEEN).write_text("image,patient_id\na.png,NA\n1,017\n")
    assert seen_records(tmp_path).to_numpy().tolist() == [["a.png", "NA"], ["1", "017"]]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no rows"),
        (b"image,patient_id\n", "no rows"),
        (b"image,patient\na.png,1\n", "expected the columns image, patient_id"),
        (b"image,patient_id\na.png,1\nb.png,\n", "line 3 lacks its image or patient"),
        (b"image,patient_id\na.png\n", "fit the header"),
        (b"image,patient_id\n\xff\xfe,1\n", "UTF-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, why):
    (tmp_path / SEEN).write_bytes(content)
    with pytest.raises(DataError, match=why) as error:
        seen_records(tmp_path)
    assert str(tmp_path / SEEN) in str(error.value)


def test_a_missing_file_says_what_it_was_for(tmp_path):
    with pytest.raises(ConfigError, match="keep the whole run folder together"):
        seen_records(tmp_path)
