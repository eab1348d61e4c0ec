import pytest

from densecf.counterfactuals.hvae.stages import Stage, parse_stages
from densecf.errors import ConfigError


def test_reads_the_published_notation():
    assert parse_stages("8b1d2,4b3d4, 1b5") == (Stage(8, 1, 2), Stage(4, 3, 4), Stage(1, 5))


@pytest.mark.parametrize("text", ["", "8b1d2,", "8x1", "8b0", "8b1d2,3b1", "8b1d2,4b1d0", "0b1"])
def test_refuses_what_does_not_fit(text):
    with pytest.raises(ConfigError):
        parse_stages(text)
