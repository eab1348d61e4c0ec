# %% [markdown]
# # Image-level pretraining and probing
#
# `simclr` compares whole images under two augmentations. `cf-simclr` makes one of the two views, often, the same
# patient on another scanner. What does a linear classifier find in their features, with few labels, on scanners that
# were common, rare, or absent in training?

# %%
import os
import shlex
import tempfile
from pathlib import Path

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
IMAGES, SIZE, EPOCHS, FRACTIONS = (40, 32, 1, "0.5 1") if TINY else (600, 64, 8, "0.05 0.1 0.25 1")
QUIET = "--quiet --hardware.workers 0" + (" --hardware.precision 32 --batch-size 8" if TINY else "")

# %% [markdown]
# ## A population with a rare and an unseen scanner
#
# The phantom's second population: one scanner makes nearly all training images, a second few of them, a third none.
# The test split has all three alike.

# %%
TASK = "" if TINY else "--task opacity"  # its 900 test images take a minute
densecf(f"data prepare phantom {TASK} --out data/task --images {IMAGES} --size {SIZE} --workers 1 --quiet")

# %%
from densecf.data import PreparedDataset

records = PreparedDataset.open("data/task").records
pd.crosstab(records["split"], records["scanner"])

# %% [markdown]
# ## Pretrain
#
# No label is used. The counterfactuals are the true ones; with images of your own they are those of a model.

# %%
densecf(f"pretrain --data data/task --method simclr --preset embedded --epochs {EPOCHS} {QUIET}")

# %%
densecf(
    f"pretrain --data data/task --method cf-simclr --counterfactuals truth --preset embedded --epochs {EPOCHS} {QUIET}"
)

# %% [markdown]
# ## Probe
#
# The networks stay as they are; a logistic regression reads the effusion off their features, from 5 % of the training
# patients' labels to all. `none` is the same network with random weights, which is what pretraining has to beat: an
# untrained network with a good classifier is no straw man.

# %%
densecf(
    "probe --label pleural_effusion --run simclr cf-simclr none "
    f"--fractions {FRACTIONS} --out runs/probe/effusion --quiet"
)
display(Image("runs/probe/effusion/probe.png", width=900))

# %% [markdown]
# One panel a scanner; the bands are standard errors over three draws of the labelled patients. They do not hold the
# chance of another pretraining seed, nor of other test patients.

# %%
scores = pd.read_csv("runs/probe/effusion/probe.csv")
table = scores[scores["group"].str.startswith("scanner=")].groupby(["group", "fraction", "run"])["auc"].mean()
(100 * table.unstack("run")).round(1)

# %% [markdown]
# **How to read it.** Look at small shares of labels first, and at each scanner by itself: the mean over all hides the
# rare one. A gain of `cf-simclr` should show on the scanner that its counterfactuals connect with the common one; on a
# scanner that nobody has seen there is no reason to expect one: here it loses, and at full length no gain was found
# ([figures](../docs/image-level.md#measured-on-the-phantom)).
#
# ## Domains
#
# Can the scanner be read off the features? Chance is one over the number of scanners; lower is better for features
# that shall ignore it. The picture is t-SNE: neighbourhoods count, distances between clouds do not.

# %%
densecf(f"domains --run simclr cf-simclr none --points {60 if TINY else 900} --out runs/domains/scanner --quiet")
display(Image(next(Path("runs/domains/scanner").glob("*.png")), width=900))

# %% [markdown]
# Clouds of a colour each: the features know the scanner. Colours that mix: they know it less. The numbers above the
# panels are of a classifier, and it sees more than an eye does: mixed clouds may still be told apart.
#
# ## Features for other programs

# %%
densecf("embed --run cf-simclr --out embeddings.parquet --quiet")
features = pd.read_parquet("embeddings.parquet")
features.filter(regex="^(image|scanner|pleural_effusion|f[0-3])$").head(3).round(2)

# %% [markdown]
# How probes are done, leaks avoided and fractions nested: [Probing](../docs/probing.md).
