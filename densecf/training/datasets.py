"""Records of a prepared dataset as training samples: views, sampled points and their ids.

Every sample is a pure function of (seed, epoch, row): it does not depend on which process loads it, or when.
"""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from densecf.data.layout import TRUTH
from densecf.data.prepared import PreparedDataset
from densecf.errors import DataError
from densecf.methods import Method
from densecf.training.domains import intervened_parents
from densecf.views.correspondences import sample_correspondences
from densecf.views.geometry import IGNORE
from densecf.views.multiview import MultiView, Views, view_seed
from densecf.views.parameters import ViewParameters, flip_pairs
from densecf.views.sampling import labels_at

BACKGROUND = 0


def choose_counterfactuals(
    data: PreparedDataset, wanted: str, method: Method, intervene: Sequence[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """Which stored counterfactuals become views: (source, names); ("", ()) for none.

    Args:
        wanted: a source, "auto" or "none".
        intervene: parents; only interventions on these are taken. Without it: all for pixel-level methods, those on
            the scanner for image-level ones.

    Raises:
        DataError: when the dataset does not hold what is wanted; the message says what it holds.
    """
    if wanted == "none" or not method.counterfactuals:
        return "", ()
    source = _choose_source(data, wanted)
    names = data.counterfactuals[source]
    parents = frozenset(intervene or (("scanner",) if method.image_level else ()))
    chosen = tuple(name for name in names if not parents or intervened_parents(name) <= parents)
    missing = sorted(parents.difference(*(intervened_parents(name) for name in chosen)))
    if missing:
        raise DataError(
            f"{data.path}: {source} holds no counterfactuals of {', '.join(missing)} (there are: {', '.join(names)}); "
            f"'densecf counterfactuals generate --data {quote(str(data.path))} --do {missing[0]}=other' makes them, "
            f"with a model trained with --parents {missing[0]}; or choose others with --intervene"
        )
    return source, chosen


def _choose_source(data: PreparedDataset, wanted: str) -> str:
    held = data.counterfactuals
    # What a model made goes before the truth, which no real image has.
    made = [source for source in held if source != TRUTH] or list(held)
    if wanted == "auto" and len(made) == 1:
        wanted = made[0]
    if wanted in held:
        return wanted
    if not held:
        place = quote(str(data.path))
        raise DataError(
            f"{data.path}: holds no counterfactuals, and this method contrasts them; make them with 'densecf "
            f"counterfactuals train --data {place}' and 'densecf counterfactuals generate --data {place}', or "
            "contrast augmented views of the real images with --counterfactuals none"
        )
    raise DataError(
        f"{data.path}: name one of its counterfactual sources with --counterfactuals: {', '.join(held)}, or none"
    )


class ViewDataset(Dataset):
    """(epoch, row) -> the views of one record: images, masks, affines.

    Args:
        data: the prepared dataset.
        parameters: how views are drawn.
        counterfactuals: (source, names) of the stored counterfactuals; each name is a view.
        augmentations: augmented views of the real image, at least one: the anchor.
        seed: decides every draw.
    """

    def __init__(
        self,
        data: PreparedDataset,
        parameters: ViewParameters,
        *,
        counterfactuals: tuple[str, tuple[str, ...]] = ("", ()),
        augmentations: int = 1,
        seed: int = 0,
    ):
        self.data, self.seed, self.augmentations = data, seed, augmentations
        self.source, self.names = counterfactuals
        self.make_views = MultiView(data.size, parameters, flip_pairs(data.class_names))

    @property
    def num_views(self) -> int:
        return self.augmentations + len(self.names)

    def __getitem__(self, key: tuple[int, int]) -> Views:
        epoch, row = key
        images = [self.data.image(row)] * self.augmentations
        images += [self.data.counterfactual(self.source, name, row) for name in self.names]
        seeds = tuple(view_seed(self.seed, epoch, row, view) for view in range(self.num_views))
        return self.make_views(images, self.data.mask(row), seeds)


class ContrastDataset(Dataset):
    """(epoch, row) -> what one step of the contrastive methods needs of a record.

    Gives a dict: ``images`` (V, 1, H, W) and ``row``; for "multi" pairing ``points`` (V, N, 2), ``ids`` and ``query``
    (V, N); for "dual" pairing the same with (P, 2, N, ...) in front, one pair of anchor and target for each
    target view. A negative id marks a point that takes no part; ``query`` is False where a point is a key only.

    Args:
        views: the views of a record.
        method: what they are compared by.
        num_points: N.
        sampling: "common": sub-pixel points of the field of view that the views of a pair (all views, for "multi")
            share; "anywhere": whole pixels, uniform with replacement, at the same rows and columns of every view. As
            in the authors' code, such a point takes part even where a view shows nothing of the image.
        positions: tell by nearness what is the same: beside the above, ``positions`` (V, N, 2), where on the image
            each point lies, (row, column) as shares of its height and width. For "multi" pairing by location.
            Where points are drawn anywhere, ids say nothing but who takes part.
        background_queries: for methods of the same class: background pixels are queries too.

    Raises:
        ValueError: "anywhere" without positions, or positions for another method.
    """

    def __init__(
        self,
        views: ViewDataset,
        method: Method,
        num_points: int,
        *,
        sampling: Literal["common", "anywhere"] = "common",
        positions: bool = False,
        background_queries: bool = False,
    ):
        if positions and (method.same, method.pairing) != ("location", "multi"):
            raise ValueError(f"positions serve methods of all views at once and by location, not {method.summary!r}")
        if sampling == "anywhere" and not positions:
            raise ValueError("points drawn anywhere can be told the same by their positions only")
        self.views, self.method, self.num_points = views, method, num_points
        self.sampling, self.positions, self.background_queries = sampling, positions, background_queries

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, row = key
        sample, size = self.views[key], self.views.data.size
        generator = torch.Generator().manual_seed(view_seed(self.views.seed, epoch, row, self.views.num_views))
        groups = pair_views(sample["affines"], self.method.pairing)  # (G, v, 3, 3)
        if self.sampling == "common":
            points, valid = sample_correspondences(groups, size, self.num_points, generator)
            valid = valid[:, None].expand(points.shape[:-1])
        else:
            points = sample_pixels(size, self.num_points, generator).expand(*groups.shape[:2], -1, -1)
            valid = torch.ones(points.shape[:-1], dtype=torch.bool)
        if self.method.same == "location":
            ids = (row * self.num_points + torch.arange(self.num_points)).expand(valid.shape)
            query = valid
        else:
            masks = pair_views(sample["masks"], self.method.pairing)  # (G, v, H, W)
            labels = labels_at(masks.flatten(0, 1), points.flatten(0, 1)).view(valid.shape).long()
            valid = valid & (labels != IGNORE)
            ids, query = labels, valid if self.background_queries else valid & (labels != BACKGROUND)
        tensors = {"points": points.float(), "ids": torch.where(valid, ids, -1), "query": query}
        if self.positions:
            # Common points are one place in all views: the anchor's, so that they are equal to the last bit.
            seen = slice(None) if self.sampling == "anywhere" else slice(1)
            places = positions_of(points[:, seen], groups[:, seen]) / size
            tensors["positions"] = places.expand_as(points).float()
        if self.method.pairing == "multi":
            tensors = {name: value[0] for name, value in tensors.items()}
        return {"images": sample["images"], "row": torch.tensor(row), **tensors}


def sample_pixels(size: int, num_points: int, generator: torch.Generator) -> Tensor:
    """Whole pixels (N, 2), (row, column), of a square view; uniform, with replacement."""
    return torch.randint(size, (num_points, 2), generator=generator).double()


def positions_of(points: Tensor, affines: Tensor) -> Tensor:
    """Where points (..., N, 2) of views with affines (..., 3, 3) lie on the image: (row, column) in its pixels."""
    return points @ affines[..., :2, :2].mT + affines[..., None, :2, 2]


def pair_views(per_view: Tensor, pairing: str) -> Tensor:
    """Groups the views that are compared: (V, ...) -> (1, V, ...) for "multi", (V - 1, 2, ...) for "dual"."""
    if pairing == "multi":
        return per_view[None]
    anchor = per_view[:1].expand(len(per_view) - 1, *per_view.shape[1:])
    return torch.stack([anchor, per_view[1:]], dim=1)
