"""``densecf chromap``: image files or a record with its counterfactuals, coloured by their embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from densecf import runs
from densecf.commands.options import ChromapOptions
from densecf.config import to_dict
from densecf.data.images import read_image
from densecf.data.profiles import NoPositiveValue, get_profile
from densecf.errors import ConfigError, DataError
from densecf.files import sha256_of_file
from densecf.visualization.chromap import MapEntry, make_chromaps, save_overlays
from densecf.visualization.chromap_figure import save_figure
from densecf.visualization.colour_space import ColourSpace

SPACE = "colour_space.safetensors"
PICTURE = "chromap.png"


def run_chromap(options: ChromapOptions) -> Path:
    """Writes the picture, the overlays at full resolution and the colour space, and returns the folder."""
    from densecf.models.weights import load_run

    weights = runs.find_weights(options.run)
    run = load_run(weights)
    origin = sha256_of_file(weights)
    space = ColourSpace.load(options.space) if options.space else None
    if space is not None and space.settings.get("origin") != origin:
        raise ConfigError(f"{options.space}: these colours belong to another network than {weights}; fit new ones")
    if options.images:
        name, entries = options.images[0].stem, list(_file_entries(options.images, run))
    else:
        name, entries = _record_entries(options.record, run)
    maps = make_chromaps(
        entries,
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


def _file_entries(paths: tuple[Path, ...], run) -> Iterator[MapEntry]:
    """Image files, read as the pretraining data was prepared; maps lie over the whole original image."""
    from densecf.models.embed import embed_images

    profile, size = get_profile(run.meta.get("profile") or "robust"), int(run.meta["size"])
    for path in paths:
        raw = read_image(path)
        try:
            prepared, affine = profile.image(raw, size)
        except NoPositiveValue as error:
            raise DataError(f"{path}: {error}") from None
        features = next(embed_images(run.model, run.head, [prepared])).numpy()
        yield MapEntry(path.name, profile.intensity(raw), features, _field(affine, raw.pixels.shape, size), affine)


def _record_entries(record: str, run) -> tuple[str, list[MapEntry]]:
    """A record of the run's dataset (the first of the manual split when none is named), then its counterfactuals."""
    from densecf.commands.datasets import open_dataset
    from densecf.commands.finetune import data_of
    from densecf.models.embed import embed_images

    data = open_dataset(data_of(run.path / "weights.safetensors"))
    names = data.records["image"].tolist()
    if record and record not in names:
        raise DataError(f"{data.path}: has no record {record!r}; the first ones are {', '.join(names[:5])}")
    manual = np.flatnonzero(data.records["split"] == "manual")
    row = names.index(record) if record else int(manual[0]) if len(manual) else 0
    pictures = {"real": data.image(row)}
    for source, interventions in data.counterfactuals.items():
        pictures |= {f"{source}: do({name})": data.counterfactual(source, name, row) for name in interventions}
    features = embed_images(run.model, run.head, list(pictures.values()))
    valid = _field(data.affines[row], None, data.size)
    entries = [
        MapEntry(f"{names[row]} · {title}", image, pixels.numpy(), valid)
        for (title, image), pixels in zip(pictures.items(), features, strict=True)
    ]
    return Path(names[row]).stem, entries


def _field(affine: np.ndarray, shape: tuple[int, ...] | None, size: int) -> np.ndarray | None:
    """Which prepared pixels lie on the original image of that shape; None: all."""
    if shape is None:
        return None
    rows, columns = (affine[axis, axis] * np.arange(size) + affine[axis, 2] for axis in range(2))
    on_rows, on_columns = (
        (at >= -0.5) & (at <= length - 0.5) for at, length in zip((rows, columns), shape, strict=True)
    )
    return on_rows[:, None] & on_columns[None, :]
