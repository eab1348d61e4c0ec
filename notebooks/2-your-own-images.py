# %% [markdown]
# # Your own images: from a CSV to a CHRO-map
#
# The steps of the page [Your own images](../docs/your-own-images.md) on a small folder of PNG files. So that this runs
# anywhere, the first cells write such a folder with the phantom: images, lung masks and a CSV. With your own files,
# skip them and start at *The table*.

# %%
import os
import shlex
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
from IPython.display import Image, display

from densecf.cli import main

os.chdir(tempfile.mkdtemp(prefix="densecf-"))  # all files go here; name a folder of yours to keep them
TINY = bool(os.environ.get("DENSECF_TINY"))  # set by the test suite, to see that all cells run; nothing is learnt then


def densecf(line: str) -> int:
    """What `densecf ...` does in a shell; returns its exit code."""
    print(f"$ densecf {line}")
    return main(shlex.split(line))


# %%
IMAGES, SIZE, EPOCHS, PASSES = (40, 32, 1, 1) if TINY else (240, 64, 12, 60)
QUIET = "--quiet --hardware.workers 0"
if TINY:
    QUIET += " --hardware.precision 32 --batch-size 4"
NETWORK = "--model.encoder resnet18 --model.decoder-channels 32 16 16 16 16" if TINY else ""

# %% [markdown]
# ## A folder of images
#
# 96 x 96 pixels, 8 bit; one PNG an image and one a lung, bright is lung.

# %%
from densecf.data import phantom

rows = []
for number, row in enumerate(phantom.cohort(num_pretraining=IMAGES, seed=3).head(IMAGES).itertuples(), start=1):
    record = phantom.record(3, row.image, row.patient_id)
    lungs = phantom.masks(record.parents, record.noise, 96)
    pictures = {
        f"images/{number:04d}.png": phantom.render(record.parents, record.noise, 96),
        f"masks/{number:04d}_left.png": lungs == phantom.CLASS_NAMES.index("left_lung"),
        f"masks/{number:04d}_right.png": lungs == phantom.CLASS_NAMES.index("right_lung"),
    }
    for name, pixels in pictures.items():
        Path(name).parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(np.rint(pixels * 255.0).astype(np.uint8)).save(name)
    image, left, right = pictures
    rows.append([image, row.patient_id, row.scanner, row.sex, row.age, row.pleural_effusion, left, right])
columns = ["image", "patient_id", "scanner", "sex", "age", "pleural_effusion", "left_lung_mask", "right_lung_mask"]
table = pd.DataFrame(rows, columns=columns)
print(f"{len(table)} images of {table['patient_id'].nunique()} patients")

# %% [markdown]
# ## The table
#
# One row an image. `image` and `patient_id` are needed; the rest is used where it is there. Paths are relative to the
# table. The patient's left lung is on the image's right.

# %%
table.to_csv("lungs.csv", index=False)
table.head(3)

# %% [markdown]
# ## Prepare, with a mistake first
#
# Tables are rarely right at once. Here a path is misspelt and a sex is written in a way nobody reads. All mistakes are
# listed together, and nothing is written until they are mended.

# %%
wrong = table.copy()
wrong.loc[4, "left_lung_mask"] = "masks/0005_lft.png"
wrong.loc[7, "sex"] = "divorced"
wrong.to_csv("wrong.csv", index=False)
prepare = f"--out data/lungs --size {SIZE} --workers 1 --quiet"
import sys
from contextlib import redirect_stderr

with redirect_stderr(sys.stdout):
    code = densecf(f"data prepare table --table wrong.csv {prepare}")
print(f"exit code {code}; is there a data/lungs? {Path('data/lungs/meta.json').exists()}")

# %%
assert densecf(f"data prepare table --table lungs.csv {prepare}") == 0

# %% [markdown]
# A fifth of the patients is set aside as `manual`, to fine-tune on and to be tested on. No patient is in both splits.
#
# ## Look at it
#
# What is wrong here stays wrong in everything that follows.

# %%
from contextlib import redirect_stdout
from io import StringIO

with redirect_stdout(StringIO()) as said:  # a long report; its beginning is the important part
    assert densecf("data check data/lungs --workers 1 --quiet") == 0
print(said.getvalue().partition("## Images by")[0] + "...")
display(Image("runs/check/lungs/contact_sheet.png", width=900))

# %% [markdown]
# **What to look for.** Upright images of one polarity, outlines that follow the lungs, left and right where they
# belong, grey levels that differ between scanners only as scanners do.
#
# ## Pretrain
#
# Without a counterfactual model the views are augmentations of the real image (`--counterfactuals none`). How to train
# a model of your scanners is the subject of [the next notebook](3-counterfactuals.ipynb).

# %%
assert densecf("pretrain --data data/lungs --counterfactuals none --method s-mvd-cl --preset embedded "
               f"--epochs {EPOCHS} {QUIET} {NETWORK}") == 0  # fmt: skip

# %% [markdown]
# ## Fine-tune on few masks, and compare
#
# With all masks and easy images pretraining has little to add. `--train-cases 10` asks what ten masks are worth.

# %%
FEW = 4 if TINY else 10
few = f"finetune --data data/lungs --folds 2 --preset embedded --train-cases {FEW} --epochs {PASSES} {QUIET}"
assert densecf(few) == 0

# %%
assert densecf(f"{few} --from none {NETWORK}") == 0

# %%
assert densecf("compare s-mvd-cl baseline") == 0

# %% [markdown]
# Few cases and one seed: the interval says how sure one can be of *this* comparison on *these* cases, and nothing of
# other seeds or data.

# %%
cases = {
    name: pd.read_csv(f"runs/finetune/{name}/cases.csv").set_index("case")["dsc"] for name in ("baseline", "s-mvd-cl")
}
figure, axis = plt.subplots(figsize=(4, 3.6), layout="constrained")
axis.scatter(cases["baseline"], cases["s-mvd-cl"].loc[cases["baseline"].index], s=12)
low = min(values.min() for values in cases.values()) - 1
axis.plot([low, 100], [low, 100], color="gray", linewidth=0.8)
axis.set(xlabel="DSC from random weights (%)", ylabel="DSC from s-mvd-cl (%)", title="one dot a held-out case")
plt.show()

# %% [markdown]
# Dots above the line: cases that the pretrained start segments better.
#
# ## Look at what it learnt
#
# The picture is made from your file, at its own resolution.

# %%
assert densecf(f"chromap images/0001.png images/0002.png --fit-pixels {200 if TINY else 3000}") == 0
display(Image("runs/chromap/0001/chromap.png", width=900))

# %% [markdown]
# How to read these colours, and what they do not mean: [reading embedding maps](4-embedding-maps.ipynb).
