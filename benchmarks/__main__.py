"""``make bench``: every benchmark, one after the other, each in a process of its own."""

import subprocess
import sys

for name in (
    "views",
    "loss",
    "step",
    "scaling",
    "chromap",
    "explore",
    "counterfactuals",
    "counterfactual_step",
    "prepare_share",
    "probe",
):
    print(f"== {name} ==", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
