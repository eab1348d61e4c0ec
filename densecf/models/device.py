"""Where networks are looked at and short trainings run."""

import torch


def best_device(accelerator: str = "auto") -> torch.device:
    """The GPU if there is one, else the CPU.

    Args:
        accelerator: what a training was told (``--hardware.accelerator``); "auto" and "gpu" take a GPU, others none.
    """
    wanted = accelerator in ("auto", "gpu")
    return torch.device("cuda" if wanted and torch.cuda.is_available() else "cpu")
