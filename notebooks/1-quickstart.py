# %% [markdown]
# # Quickstart: from nothing to a CHRO-map
#
# Pixel-level pretraining on the embedded *phantom*, a procedural chest radiograph, then fine-tuning on a few masks, a
# comparison with random weights, and a look at what the network learnt. Nothing is downloaded.
#
# The trainings here are far shorter than useful ones. Read this notebook for the way, not for the numbers.

# %%
import json
import os
import shlex
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image, display

from densecf.cli import main

os.chdir(tempfile.mkdtemp(prefix="densecf-"))  # all files go here; name a folder of yours to keep them
TINY = bool(os.environ.get("DENSECF_TINY"))  # set by the test suite, to see that all cells run; nothing is learnt then


def densecf(line: str) -> None:
    """What `densecf ...` does in a shell; stops the notebook where the command fails."""
    print(f"$ densecf {line}")
    if code := main(shlex.split(line)):
        raise RuntimeError(f"densecf ended with code {code}")


# %%
IMAGES, SIZE, EPOCHS, PASSES = (24, 32, 1, 1) if TINY else (320, 64, 2, 10)
QUIET = "--quiet --hardware.workers 0"
if TINY:
    QUIET += " --hardware.precision 32 --batch-size 4"
NETWORK = "--model.encoder resnet18 --model.decoder-channels 32 16 16 16 16" if TINY else ""

# %% [markdown]
# ## Images
#
# `data prepare` turns any source of images into a folder that all later steps read. The phantom comes with what no
# hospital has: the true lungs, also where fluid hides them, and true *counterfactuals*, the same patient on another
# scanner or with another finding. The split `train` has silver masks, as a tool would draw them; the split `manual`
# has 70 true ones.

# %%
densecf(f"data prepare phantom --out data/phantom --images {IMAGES} --size {SIZE} --workers 1 --quiet")

# %%
from densecf.data import PreparedDataset

data = PreparedDataset.open("data/phantom")
data.records[["image", "patient_id", "scanner", "sex", "age", "pleural_effusion", "split"]].head()

# %% [markdown]
# One patient of each scanner, the lungs as outlines, and two true counterfactuals of the same patient.

# %%
rows = [data.records.index[(data.records["scanner"] == name) & (data.records["pleural_effusion"] == 1)][0]
        for name in sorted(data.records["scanner"].unique())]  # fmt: skip
figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.4), layout="constrained")
for row, line in zip(rows, axes, strict=True):
    pictures = {
        f"{data.records['scanner'][row]}, effusion": data.image(row),
        "do(scanner=other)": data.counterfactual("truth", "scanner=other", row),
        "do(pleural_effusion=other)": data.counterfactual("truth", "pleural_effusion=other", row),
    }
    for axis, (title, picture) in zip(line, pictures.items(), strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    line[0].contour(data.mask(row) > 0, levels=[0.5], colors="orange", linewidths=1)
plt.show()

# %% [markdown]
# The orange outline of a training image is a silver mask: it stops where the fluid begins. That is the bias that
# counterfactual views are meant to help against.
#
# ## Pretraining
#
# `s-mvd-cl` pulls together all pixels of one class, over the real image and its counterfactuals, and pushes the
# classes apart. Without `--preset embedded` the network is the paper's ResNet-50 U-Net, which wants a GPU.

# %%
densecf(f"pretrain --data data/phantom --counterfactuals truth --method s-mvd-cl --preset embedded --epochs {EPOCHS} "
        f"{QUIET} {NETWORK}")  # fmt: skip

# %%
lines = [json.loads(line) for line in Path("runs/pretrain/s-mvd-cl/metrics.jsonl").read_text().splitlines()]
log = pd.DataFrame([line for line in lines if "loss" in line])
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
axes[0].plot(log["step"], log["loss"], label="loss")
axes[0].plot(log["step"], log["chance"], "--", color="gray", label="if all embeddings were alike")
axes[0].set(xlabel="step", ylabel="loss")
axes[0].legend(fontsize=8)
axes[1].plot(log["step"], log["spread"])
axes[1].set(xlabel="step", ylabel="spread of embeddings", ylim=(0, None))
plt.show()

# %% [markdown]
# **What to look for.** The loss leaves the dashed line, and the spread does not sink to 0. A spread near 0 means that
# all pixels get the same embedding: the network has collapsed.
#
# ## Fine-tuning, and what it is compared with
#
# Two folds of the 70 true masks, grouped by patient, trained from the pretrained weights and from random ones. Both
# runs use the same folds; nothing is chosen on the held-out part.

# %%
densecf(f"finetune --data data/phantom --folds 2 --preset embedded --epochs {PASSES} {QUIET}")

# %%
densecf(f"finetune --data data/phantom --folds 2 --preset embedded --epochs {PASSES} --from none {QUIET} {NETWORK}")

# %%
densecf("compare s-mvd-cl baseline")

# %% [markdown]
# Each case is compared with itself, so the interval is about the difference. If it holds 0, these cases cannot tell
# the two runs apart. With schedules as short as here a pretrained start is mostly a *head start*; what remains of it
# after a proper fine-tuning is what `densecf benchmark` measures.

# %%
display(Image("runs/finetune/s-mvd-cl/overlays.png", width=900))

# %% [markdown]
# ## What the network learnt: a CHRO-map
#
# Every pixel is coloured by its embedding. Similar colours mean similar embeddings; hues have no meaning of their own.

# %%
densecf(f"chromap --fit-pixels {200 if TINY else 3000}")
display(Image(next(Path("runs/chromap").glob("*/chromap.png")), width=900))

# %% [markdown]
# **What to look for.** Each lung has a colour that little else has, and keeps it in the counterfactuals, also where
# fluid hides it: the embedding does not see what the scanner changed. The background has many colours, and borders are
# softer than after a full training.
#
# ## Onwards
#
# The weights are those of `segmentation_models_pytorch`:

# %%
import torch

from densecf import load_pretrained

model = load_pretrained("runs/pretrain/latest").eval()
with torch.no_grad():
    image = torch.from_numpy(np.stack([data.image(0)]))[None]
    logits = model((image - 0.485) / 0.229)
print(type(model).__name__, "gives", tuple(logits.shape))

# %% [markdown]
# Next: [your own images](2-your-own-images.ipynb), [counterfactuals](3-counterfactuals.ipynb), [reading embedding
# maps](4-embedding-maps.ipynb), [image-level pretraining](5-image-level.ipynb).
