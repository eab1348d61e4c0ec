"""Positives from integer ids: counts and class slots, found by sorting, without a matrix or a host round trip."""

from typing import NamedTuple

import torch
from torch import Tensor


class Match(NamedTuple):
    """Who is a positive of whom, without a matrix: equal ids share a slot.

    Attributes:
        query_slot: (M,) slot of each query's id, in [0, K].
        key_slot: (K,) slot of each key's id, in [0, K).
        num_positives: (M,) positives of each query.
        self_positive: (M,) bool, whether the excluded key of a query has its id; None when none is excluded.
        valid: (M,) bool, the queries that count.
        key_valid: (K,) bool, the keys that count.
    """

    query_slot: Tensor
    key_slot: Tensor
    num_positives: Tensor
    self_positive: Tensor | None
    valid: Tensor
    key_valid: Tensor


def match_ids(query_ids: Tensor, key_ids: Tensor, *, self_offset: int | None, query_mask: Tensor | None) -> Match:
    """Finds slots and counts by sorting: unlike ``torch.unique``, this needs no answer from the accelerator."""
    query_ids, key_ids = query_ids.contiguous(), key_ids.contiguous()
    sorted_ids = key_ids.sort().values
    # An id's slot is where it first stands among the sorted keys. Ids without a key have no positives and weight 0.
    query_slot = torch.searchsorted(sorted_ids, query_ids)
    key_slot = query_slot if query_ids is key_ids else torch.searchsorted(sorted_ids, key_ids)
    num_positives = torch.searchsorted(sorted_ids, query_ids, right=True) - query_slot
    self_positive = None
    if self_offset is not None:
        self_positive = key_ids[self_offset : self_offset + len(query_ids)] == query_ids
        num_positives = num_positives - self_positive.long()
    valid = (query_ids >= 0) & (num_positives > 0)
    if query_mask is not None:
        valid = valid & query_mask
    return Match(query_slot, key_slot, num_positives, self_positive, valid, key_ids >= 0)
