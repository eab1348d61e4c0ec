"""``densecf chromap``: image files or a record with its counterfactuals, coloured by their embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from densecf import runs
from densecf.commands.datasets import open_dataset
from densecf.commands.finetune import data_of
from densecf.commands.images import LoadedImage, load_files, load_record
from densecf.commands.options import ChromapOptions
from densecf.config_values import to_dict
from densecf.errors import ConfigError
from densecf.files import sha256_of_file
from densecf.visualization.chromap import MapEntry, make_chromaps, save_overlays
from densecf.visualization.chromap_figure import save_figure
from densecf.visualization.colour_space import ColourSpace

if TYPE_CHECKING:
    from densecf.models.weights import Run

SPACE = "colour_space.safetensors"
PICTURE = "chromap.png"


def run_chromap(options: ChromapOptions) -> Path:
    """Writes the picture, the overlays at full resolution and the colour space, and returns the folder."""
    from densecf.models.device import best_device
    from densecf.models.weights import load_run

    weights = runs.find_weights(options.run)
    run = load_run(weights).to(best_device())
    origin = sha256_of_file(weights)
    space = ColourSpace.load(options.space) if options.space else None
    if space is not None and space.settings.get("origin") != origin:
        raise ConfigError(f"{options.space}: these colours belong to another network than {weights}; fit new ones")
    if options.images:
        name, images = options.images[0].stem, list(load_files(options.images, run.meta))
    else:
        name, images = load_record(open_dataset(data_of(weights)), options.record)
    maps = make_chromaps(
        list(_entries(images, run)),
        space=space,
        num_fit=options.fit_pixels,
        mode=options.mode,
        alpha=options.alpha,
        seed=options.seed,
        origin=origin,
    )
    out = runs.start_run(
        "chromap",
        name,
        to_dict(options),
        out=options.out,
        overwrite=options.overwrite,
        provenance={"pretrained": str(weights)},
    )
    method = str(run.meta.get("method", ""))
    with runs.working_in(out):
        save_figure(maps, out / PICTURE, heading=method if method == run.path.name else f"{method} · {run.path.name}")
        overlays = save_overlays(maps, out / PICTURE)
        maps.space.save(out / SPACE)
        runs.finish_run(out, "chromap")
    print(f"Overlay: {', '.join(map(str, overlays))}")
    print(f"Colours for other images: --space {out / SPACE}")
    print(f"Picture: {out / PICTURE}")
    return out


def _entries(images: Sequence[LoadedImage], run: Run) -> Iterator[MapEntry]:
    from densecf.models.embed import embed_images

    features = embed_images(run.model, run.head, [each.prepared for each in images])
    for each, pixels in zip(images, features, strict=True):
        yield MapEntry(each.title, each.image, pixels.numpy(), each.valid, each.affine)
