"""Which domain a record is shown in: uniform over its own and those that counterfactuals are stored for."""

import numpy as np
import pandas as pd
import pytest

from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError
from densecf.methods import METHODS
from densecf.training.datasets import choose_counterfactuals
from densecf.training.domains import DomainImages, intervened_parents


class Scanners:
    """Three records, one of each scanner; each image is told by its value."""

    records = pd.DataFrame({"scanner": ["A", "B", "C"], "pleural_effusion": [0.0, 1.0, np.nan]})

    def __len__(self) -> int:
        return 3

    def image(self, row: int) -> np.ndarray:
        return np.full((2, 2), row, np.float32)

    def counterfactual(self, source: str, name: str, row: int) -> np.ndarray:
        assert source == "hvae"
        return np.full((2, 2), 10 * (1 + NAMES.index(name)) + row, np.float32)


NAMES = ("scanner=A", "scanner=B", "scanner=C", "scanner=other.1", "scanner=other.2", "pleural_effusion=1")


def shown(names: tuple[str, ...], use: str, row: int, epochs: int = 3000) -> tuple[dict[int, int], dict[int, int]]:
    """How often each image was first, and second."""
    images = DomainImages(Scanners(), ("hvae", names), use, seed=0)  # type: ignore[arg-type]
    pairs = [[int(image[0, 0]) for image in images(epoch, row)] for epoch in range(epochs)]
    counts = [dict(zip(*np.unique(side, return_counts=True), strict=True)) for side in zip(*pairs, strict=True)]
    return counts[0], counts[1]


def test_a_pair_is_the_real_image_and_a_domain_drawn_uniformly():
    first, second = shown(("scanner=other.1", "scanner=other.2"), "pair", row=1)
    assert first == {1: 3000}
    assert second.keys() == {1, 41, 51}
    assert all(abs(count - 1000) < 120 for count in second.values())


def test_a_sample_is_one_drawn_image():
    images = DomainImages(Scanners(), ("hvae", NAMES[3:5]), "sample", seed=0)  # type: ignore[arg-type]
    for epoch in range(20):
        first, second = images(epoch, 2)
        assert first is second
    assert shown(NAMES[3:5], "sample", row=2)[0].keys() == {2, 42, 52}


def test_its_own_value_is_no_further_domain():
    _, second = shown(NAMES[:3], "pair", row=1)
    assert second.keys() == {1, 10 + 1, 30 + 1}  # itself, as A and as C
    assert shown(("pleural_effusion=1",), "pair", row=1)[1].keys() == {1}  # has an effusion already
    assert shown(("pleural_effusion=1",), "pair", row=0)[1].keys() == {0, 60}


def test_without_counterfactuals_the_real_image_twice():
    assert shown((), "pair", row=0) == ({0: 3000}, {0: 3000})
    assert shown(NAMES[:3], "", row=0) == ({0: 3000}, {0: 3000})


def test_draws_depend_on_seed_epoch_and_row_alone():
    def draws(seed):
        images = DomainImages(Scanners(), ("hvae", NAMES[3:5]), "pair", seed)  # type: ignore[arg-type]
        return [int(images(epoch, row)[1][0, 0]) for epoch in range(30) for row in range(3)]

    assert draws(0) == draws(0)
    assert draws(0) != draws(1)


def test_parents_of_a_name():
    assert intervened_parents("scanner=other.2+pleural_effusion=1") == {"scanner", "pleural_effusion"}


def test_intervening_chooses_among_what_is_stored(phantom):
    data = PreparedDataset.open(phantom)
    names = data.counterfactuals["truth"]
    assert choose_counterfactuals(data, "auto", METHODS["cf-simclr"])[1] == ("scanner=other",)
    assert choose_counterfactuals(data, "auto", METHODS["mvd-cl"])[1] == names
    assert choose_counterfactuals(data, "auto", METHODS["mvd-cl"], ["scanner"])[1] == ("scanner=other",)
    both = choose_counterfactuals(data, "auto", METHODS["cf-simclr"], ["pleural_effusion", "scanner"])[1]
    assert set(both) == set(names)
    with pytest.raises(DataError, match=r"no counterfactuals of sex .*--do sex=other"):
        choose_counterfactuals(data, "auto", METHODS["cf-simclr"], ["sex"])
