"""Which rows are compared with which: anchor against each target ("dual"), or all views at once ("multi").

Ids say which rows are positives of each other:

* same location: ``id = (global image index) * N + point index``, so the V views of a point share an id. The
  global image index, such as the row in the dataset, must differ between images of all processes.
* same class: ``id = class index``; the query mask is False for background, which then is only ever a key.

Rows that must take no part (a point outside one of the views, or IGNORE in the mask) have a negative id.
"""

from typing import Literal

import torch
from torch import Tensor

from densecf.losses.gather import distributed_chance_level, distributed_info_nce

Pairing = Literal["dual", "multi"]
Reduction = Literal["mean", "sum"]


def contrast(
    embeddings: Tensor,
    ids: Tensor,
    *,
    pairing: Pairing,
    temperature: float,
    query_mask: Tensor | None = None,
    direction_reduction: Reduction = "mean",
) -> Tensor:
    """The contrastive loss between views of a batch of images, over all processes when there are several.

    "multi" (MVD-CL, S-MVD-CL): one `info_nce` of all B * V * N rows against themselves, self excluded.
    "dual" (DVD-CL, S-DVD-CL, VADeR): for each target view, anchor -> target and target -> anchor, reduced over
    the two directions, then averaged over targets. A row sees the rows of the other side of all images.

    Two layouts are understood:

    * views ``(B, V, N, D)``, ids ``(B, V, N)``: the same N points in every view; view 0 is the anchor;
    * pairs ``(B, P, 2, N, D)``, ids ``(B, P, 2, N)``, for "dual" only: N points drawn for each of P pairs;
      ``[:, p, 0]`` are the anchor's rows and ``[:, p, 1]`` those of target p.

    Args:
        embeddings: pixel embeddings, in one of the layouts.
        ids: int64, negative for rows that take no part.
        pairing: "dual" or "multi".
        temperature: what cosines are divided by, > 0.
        query_mask: bool, shaped like ids, False where a row may be a key but not a query.
        direction_reduction: "mean" of the two directions (the paper), or their "sum" (the authors' code).
            "multi" has no directions.

    Returns:
        The loss, a scalar in nats. See `densecf.losses.gather` for what it means over several processes.

    Raises:
        ValueError: the shapes fit no layout, or an option is unknown.
    """
    sides = _sides(embeddings, ids, query_mask, pairing, direction_reduction)
    losses = [
        distributed_info_nce(
            queries,
            keys,
            query_ids,
            key_ids,
            temperature=temperature,
            exclude_self=pairing == "multi",
            query_mask=mask,
        )
        for queries, keys, query_ids, key_ids, mask in sides
    ]
    return _reduce(losses, pairing, direction_reduction)


def contrast_chance_level(
    ids: Tensor, *, pairing: Pairing, query_mask: Tensor | None = None, direction_reduction: Reduction = "mean"
) -> Tensor:
    """The value of `contrast` when all similarities are equal, to be printed beside it.

    Args:
        ids: (B, V, N) or (B, P, 2, N), as in `contrast`.
        pairing, query_mask, direction_reduction: as in `contrast`.

    Returns:
        A float32 scalar in nats, without gradient.
    """
    sides = _sides(ids[..., None], ids, query_mask, pairing, direction_reduction)
    levels = [
        distributed_chance_level(query_ids, key_ids, exclude_self=pairing == "multi", query_mask=mask)
        for _, _, query_ids, key_ids, mask in sides
    ]
    return _reduce(levels, pairing, direction_reduction)


def anchor_pairs(views: Tensor) -> Tensor:
    """Views (B, V, N, ...) as V - 1 pairs of view 0 with another one, (B, V - 1, 2, N, ...)."""
    targets = views[:, 1:]
    return torch.stack((views[:, :1].expand_as(targets), targets), dim=2)


def _sides(
    embeddings: Tensor, ids: Tensor, mask: Tensor | None, pairing: Pairing, direction_reduction: Reduction
) -> list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]]:
    """(queries, keys, query ids, key ids, query mask) of every loss to be reduced, all with flat rows."""
    _check(embeddings, ids, mask, pairing, direction_reduction)
    if pairing == "multi":
        rows, flat_ids = embeddings.flatten(0, 2), ids.flatten()
        return [(rows, rows, flat_ids, flat_ids, None if mask is None else mask.flatten())]
    if ids.ndim == 3:
        embeddings, ids = anchor_pairs(embeddings), anchor_pairs(ids)
        mask = None if mask is None else anchor_pairs(mask)
    sides = []
    for pair in range(ids.shape[1]):
        for query, key in ((0, 1), (1, 0)):
            sides.append(
                (
                    embeddings[:, pair, query].flatten(0, 1),
                    embeddings[:, pair, key].flatten(0, 1),
                    ids[:, pair, query].flatten(),
                    ids[:, pair, key].flatten(),
                    None if mask is None else mask[:, pair, query].flatten(),
                )
            )
    return sides


def _reduce(losses: list[Tensor], pairing: Pairing, direction_reduction: Reduction) -> Tensor:
    """Mean over targets of the mean or sum over the two directions."""
    mean = torch.stack(losses).mean()
    return 2 * mean if pairing == "dual" and direction_reduction == "sum" else mean


def _check(
    embeddings: Tensor, ids: Tensor, mask: Tensor | None, pairing: Pairing, direction_reduction: Reduction
) -> None:
    if pairing not in ("dual", "multi"):
        raise ValueError(f"pairing must be 'dual' or 'multi', got {pairing!r}")
    if direction_reduction not in ("mean", "sum"):
        raise ValueError(f"direction_reduction must be 'mean' or 'sum', got {direction_reduction!r}")
    if embeddings.shape[:-1] != ids.shape:
        raise ValueError(f"one id an embedding expected, got {tuple(embeddings.shape)} and ids {tuple(ids.shape)}")
    if mask is not None and mask.shape != ids.shape:
        raise ValueError(f"query_mask must be shaped like ids, got {tuple(mask.shape)} and ids {tuple(ids.shape)}")
    views = ids.ndim == 3 and (pairing == "multi" or ids.shape[1] >= 2)
    pairs = pairing == "dual" and ids.ndim == 4 and ids.shape[1] >= 1 and ids.shape[2] == 2
    if not (views or pairs):
        wanted = "(B, V, N, D)" if pairing == "multi" else "(B, V >= 2, N, D) or (B, P, 2, N, D)"
        raise ValueError(f"{pairing} pairing needs embeddings {wanted}, got {tuple(embeddings.shape)}")
