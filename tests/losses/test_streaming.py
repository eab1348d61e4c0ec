import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.loss import memory_in_fresh_process
from densecf.losses import info_nce
from densecf.losses.streaming import tile_rows
from tests.losses.test_info_nce import random_ids, random_rows


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation returned."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.untyped_storage().nbytes() // result.element_size())
        return result


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_no_similarity_matrix_is_ever_held(temperature):
    size = 6000
    rows, ids = random_rows(size, 4, dtype=torch.float32), random_ids(size, -1, 3)
    with LargestTensor() as seen:
        info_nce(rows, rows, ids, ids, temperature=temperature, exclude_self=True).backward()
    tile = tile_rows(size, rows.device) * size
    assert seen.largest == tile
    assert tile < size**2 / 4


def test_tile_has_about_the_same_memory_whatever_the_number_of_keys():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for keys in (1000, 32_000, 200_000):
        assert tile_rows(keys, cpu) * keys <= 2**23
        assert 2**25 < tile_rows(keys, gpu) * keys <= 2**26
    assert tile_rows(0, cpu) > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_32000_rows_stay_below_200_mb():
    """Embeddings and gradients included. S-MVD-CL with 8 images, 4 views and 1000 pixels a view."""
    assert memory_in_fresh_process("ours", 32_000)["mb"] < 200
