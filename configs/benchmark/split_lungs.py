"""Splits a table of Montgomery and Shenzhen images by patient for lungs.yaml: half of Montgomery to fine-tune on
("manual"), 200 patients of Shenzhen to test on ("test"), all others to pretrain on ("train").

    python split_lungs.py lungs.csv lungs_split.csv

The table has the columns patient_id and source (montgomery, shenzhen).
"""

import sys

import numpy as np
import pandas as pd

SHARES = {"montgomery": ("manual", 68), "shenzhen": ("test", 200)}

table = pd.read_csv(sys.argv[1], dtype={"patient_id": str})
random = np.random.default_rng(0)
table["split"] = "train"
for source, (split, count) in SHARES.items():
    mine = table["source"] == source
    patients = random.permutation(sorted(table.loc[mine, "patient_id"].unique()))[:count]
    table.loc[mine & table["patient_id"].isin(patients), "split"] = split
table.to_csv(sys.argv[2], index=False)
print(table.groupby(["source", "split"]).size())
