"""``densecf explore``: a page on which one points at a pixel and sees how similar all others are to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from densecf import runs
from densecf.commands.datasets import open_dataset
from densecf.commands.images import LoadedImage, load_files, load_record
from densecf.commands.networks import Network, dataset_of, open_networks
from densecf.commands.options import ExploreOptions
from densecf.config_values import to_dict
from densecf.errors import ConfigError, DataError

if TYPE_CHECKING:
    from densecf.visualization.explorer import Method

PAGE = "explore.html"


def run_explore(options: ExploreOptions) -> Path:
    """Writes the page into a run folder, and returns the folder."""
    from densecf.visualization.explorer import LIMIT, STRIDES, View, write_explorer

    _check(options)
    networks = open_networks(options.run)
    name, images, places = _images(options, networks)
    methods = [_method(network, images, options.error) for network in networks]
    views = [View(image.title, image.prepared, image.valid, place) for image, place in zip(images, places, strict=True)]
    out = runs.start_run(
        "explore",
        name,
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={"pretrained": {network.name: str(network.weights) for network in networks}},
    )
    with runs.working_in(out):
        page = write_explorer(out / PAGE, name, views, methods)
        runs.finish_run(out, "explore")
    for method in methods:
        kept, dimension = len(method.embeddings.steps), method.embeddings.dimension
        print(
            f"{method.name}: {kept} of {dimension} axes; similarities wrong by at most {method.embeddings.bound:.3f} "
            f"(measured: {method.mean_error:.4f} on average, {method.largest_error:.4f} at most)"
        )
    if page.stride > 1:
        nth = STRIDES[page.stride]
        print(
            f"To stay under {LIMIT / 1e6:.0f} MB the page holds every {nth} pixel of every {nth} row; "
            "fewer images or runs, or a larger --error, leave room for all"
        )
    print(f"Page: {out / PAGE} ({len(page.text.encode()) / 1e6:.1f} MB)")
    return out


def _check(options: ExploreOptions) -> None:
    if not 0.005 <= options.error <= 0.5:
        raise ConfigError(f"--error {options.error}: expected a similarity between 0.005 and 0.5")
    if options.data != "auto" and options.images and not options.record:
        raise ConfigError(f"--data {options.data}: name the record to show beside the image files with --record")


def _images(options: ExploreOptions, networks: Sequence[Network]) -> tuple[str, list[LoadedImage], list[int]]:
    """A name for the page, its images, and for each a number that a record shares with its counterfactuals."""
    images, name = [], ""
    if options.images:
        images = list(load_files(options.images, _shared_facts(networks)))
        name = options.images[0].stem
    places = list(range(len(images)))
    if options.record or not options.images:
        record, views = load_record(open_dataset(dataset_of(networks, options.data, "--data")), options.record)
        if not images:  # the heading names the record
            views = [replace(view, title=view.title.rsplit(" · ", 1)[1]) for view in views]
        images += views
        places += [len(places)] * len(views)
        name = name or record
    return name, images, places


def _shared_facts(networks: Sequence[Network]) -> dict[str, object]:
    """How all the networks want their images prepared.

    Raises:
        ConfigError: not alike.
    """
    wanted = {network.name: (network.facts.get("profile"), network.facts.get("size")) for network in networks}
    if len(set(wanted.values())) > 1:
        each = ", ".join(f"{name}: {size} px, profile {profile or '?'}" for name, (profile, size) in wanted.items())
        raise ConfigError(f"--run: these were pretrained on images prepared differently ({each}); show them one by one")
    return networks[0].facts


def _method(network: Network, images: Sequence[LoadedImage], error: float) -> Method:
    """The embeddings of all images, quantised.

    Raises:
        ConfigError: random weights.
        CheckpointError: an image-level run.
        DataError: the network's embeddings are not finite.
    """
    from densecf.models.device import best_device
    from densecf.models.embed import embed_images
    from densecf.models.weights import load_run
    from densecf.visualization.explorer import Method
    from densecf.visualization.quantise import measured_error, quantise

    if network.weights is None:
        raise ConfigError(f"--run {network.name}: random weights have no embedding to look at; name pretraining runs")
    run = load_run(network.weights).to(best_device())
    features = [each.numpy() for each in embed_images(run.model, run.head, [image.prepared for image in images])]
    valid = [image.valid for image in images]
    try:
        quantised = quantise(features, error, valid)
    except ValueError as problem:
        raise DataError(f"{network.weights}: {problem}") from None
    mean, largest = measured_error(features, quantised, valid)
    title = network.name if network.name.startswith(network.method) else f"{network.method} · {network.name}"
    return Method(title, quantised, mean, largest)
