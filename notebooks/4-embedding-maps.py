# %% [markdown]
# # Reading embedding maps
#
# A CHRO-map colours every pixel by its embedding. This notebook shows what can be read from the colours and what
# cannot: over views of one patient, over scanners, and over methods.

# %%
import io
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image, display
from matplotlib.figure import Figure

from densecf.cli import main

os.chdir(tempfile.mkdtemp(prefix="densecf-"))  # all files go here; name a folder of yours to keep them
TINY = bool(os.environ.get("DENSECF_TINY"))  # set by the test suite, to see that all cells run; nothing is learnt then


def densecf(line: str) -> None:
    """What `densecf ...` does in a shell; stops the notebook where the command fails."""
    print(f"$ densecf {line}")
    if code := main(shlex.split(line)):
        raise RuntimeError(f"densecf ended with code {code}")


def show(figure: Figure) -> None:
    """Figures that were not made by pyplot are shown as pictures."""
    png = io.BytesIO()
    figure.savefig(png, format="png")
    display(Image(png.getvalue(), width=900))


# %%
IMAGES, SIZE, EPOCHS, FIT = (24, 32, 1, 200) if TINY else (240, 64, 3, 2000)
QUIET = "--quiet --hardware.workers 0"
if TINY:
    QUIET += " --hardware.precision 32 --batch-size 4 --model.encoder resnet18 --model.decoder-channels 32 16 16 16 16"

# %% [markdown]
# ## Three networks
#
# The same images, the same short schedule, three ideas of when two pixels are the same: the same place in two
# augmented views (`vader`), the same place in the real image and its counterfactuals (`dvd-cl`), the same class
# (`s-mvd-cl`).

# %%
densecf(f"data prepare phantom --out data/phantom --images {IMAGES} --size {SIZE} --workers 1 --quiet")
METHODS = ("vader", "dvd-cl", "s-mvd-cl")
for method in METHODS:
    views = "" if method == "vader" else "--counterfactuals truth"
    densecf(f"pretrain --data data/phantom --method {method} {views} --preset embedded --epochs {EPOCHS} {QUIET}")

# %%
from densecf.data import PreparedDataset
from densecf.models.embed import embed_images
from densecf.models.weights import load_run
from densecf.visualization.chromap import MapEntry, fit_space, make_chromaps
from densecf.visualization.chromap_figure import chromap_figure
from densecf.visualization.chromap_grid import aligned_chromaps, chromap_grid

data = PreparedDataset.open("data/phantom")
records = data.records
RUNS = {method: load_run(f"runs/pretrain/{method}") for method in METHODS}


def embedded(method: str, pictures: Mapping[str, np.ndarray]) -> list[MapEntry]:
    """Title -> image, as a method's network sees them."""
    features = embed_images(RUNS[method].model, RUNS[method].head, list(pictures.values()))
    return [MapEntry(title, image, pixels.numpy())
            for (title, image), pixels in zip(pictures.items(), features, strict=True)]  # fmt: skip


# %% [markdown]
# ## One colour space over the views of a patient
#
# A patient of the manual split with an effusion, and the true counterfactuals. All four share one colour space.

# %%
patient = records.index[(records["split"] == "manual") & (records["pleural_effusion"] == 1)][0]
views = {"real, with effusion": data.image(patient)}
views |= {f"do({name})": data.counterfactual("truth", name, patient) for name in data.counterfactuals["truth"]}
maps = make_chromaps(embedded("s-mvd-cl", views), num_fit=FIT)
show(chromap_figure(maps, heading="s-mvd-cl: one patient, four views"))

# %% [markdown]
# **What to look for.** The lungs keep their colours from view to view. Now look at the lower lung under the fluid, in
# the first picture against `do(pleural_effusion=other)`: where the colour changes, the fluid still decides what the
# pixel is.
#
# Hues mean nothing by themselves. Distances between far colours mean little, since UMAP lets islands lie where they
# may. Dark is not "uncertain"; it is the middle of the disc.
#
# ## One colour space over scanners

# %%
scanners = sorted(records["scanner"].unique())
healthy = records[(records["split"] == "manual") & (records["pleural_effusion"] == 0)]
others = {f"{name}, patient {k + 1}": data.image(row)
          for name in scanners for k, row in enumerate(healthy.index[healthy["scanner"] == name][:2])}  # fmt: skip
show(chromap_figure(make_chromaps(embedded("vader", others), num_fit=FIT), heading="vader: two scanners"))

# %%
show(chromap_figure(make_chromaps(embedded("dvd-cl", others), num_fit=FIT), heading="dvd-cl: two scanners"))

# %% [markdown]
# An organ that has one colour on both scanners is encoded alike. Colours that split by scanner say that the embedding
# knows the scanner. `vader` never saw one patient on two scanners; `dvd-cl` did. Both are methods of *the same place*:
# a smooth run of colours over the body is what they are taught, and no failure.
#
# A picture of four patients is an impression. The number behind it: how alike are the embeddings of the same pixel in
# the real image and in its counterfactual, beside pixels of different places?

# %%
rows = records.index[records["split"] == "manual"][: 4 if TINY else 20]
rng = np.random.default_rng(0)


def similarities(method: str) -> dict[str, float]:
    """Mean cosine of the same place across the scanner, and of two places drawn at random in one image."""
    same, apart = [], []
    for row in rows:
        pair = {"real": data.image(row), "other": data.counterfactual("truth", "scanner=other", row)}
        real, other = (entry.features.reshape(len(entry.features), -1) for entry in embedded(method, pair))
        real, other = real / np.linalg.norm(real, axis=0), other / np.linalg.norm(other, axis=0)
        same.append((real * other).sum(axis=0).mean())
        apart.append((real * real[:, rng.permutation(real.shape[1])]).sum(axis=0).mean())
    return {"same place, other scanner": np.mean(same), "different places": np.mean(apart)}


pd.DataFrame({method: similarities(method) for method in METHODS}).T.round(2)

# %% [markdown]
# A network that ignores the scanner has a first column near 1 *and* a second one well below: near 1 in both is
# collapse.
#
# ## One colour space over methods
#
# Two networks have no common space. What can be done: fit a space for each on the *same pixels*, and turn (and mirror)
# the discs onto one another. Colours then stand for the same pixels as far as a turn can make them.

# %%
shown = {
    "with effusion": data.image(patient),
    "other scanner": views["do(scanner=other)"],
    scanners[0]: next(iter(others.values())),
}
found = aligned_chromaps(METHODS, lambda method: embedded(method, shown), num_fit=FIT)
show(chromap_grid(found, list(shown)))

# %% [markdown]
# The number in the corner says how far the pixels still lie from where the reference has them. Where it is large,
# compare *shapes* between the columns (borders, smooth runs, islands), not hues.
#
# ## Three maps of one network
#
# The same network and image in three calls: other pixels are drawn, and UMAP settles elsewhere.

# %%
one = {"seed 0": data.image(patient)}
spaces = {f"seed {seed}": fit_space(embedded("s-mvd-cl", one), num_fit=FIT, seed=seed) for seed in (0, 1, 2)}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
axes[0].imshow(data.image(patient), cmap="gray", vmin=0, vmax=1)
axes[0].set_title("image", fontsize=9)
for axis, (title, space) in zip(axes[1:], spaces.items(), strict=True):
    axis.imshow(make_chromaps(embedded("s-mvd-cl", one), space=space, alpha=1.0).overlays[0])
    axis.set_title(f"colour space of {title}", fontsize=9)
for axis in axes:
    axis.set_axis_off()
plt.show()

# %% [markdown]
# What survives a change of seed may be pointed at: which regions share a colour, where borders run. What does not,
# such as the exact hue of a lung, is chance. To compare pictures made at different times, save a space once and use it
# again:

# %%
spaces["seed 0"].save(Path("colours.safetensors"))
print(
    f"{Path('colours.safetensors').stat().st_size / 1e6:.1f} MB; densecf chromap image.png --space colours.safetensors"
)

# %% [markdown]
# ## A neat map is no proof
#
# Numbers about embeddings come from `densecf evaluate`; whether a pretraining helps is for fine-tuning to say.

# %%
for method in METHODS:
    densecf(f"evaluate --run {method} --images {6 if TINY else 40} --keep-latest")

# %% [markdown]
# The purity floor is what one cluster for everything would reach: background is most of an image. After trainings as
# short as these purity may not leave it, and the linear probe is what tells the networks apart. See [Reading
# CHRO-maps](../docs/reading-chromaps.md).
