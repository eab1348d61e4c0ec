"""What every format says of what it wrote, for the model card."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Written:
    """Attributes:
    library: who reads the folder, as the Hugging Face hub calls it.
    usage: Python that loads it, run inside the folder.
    notes: what its users must know, a sentence each.
    normalises: whether the network takes plain grey levels, and subtracts their mean itself.
    """

    library: str
    usage: str
    notes: tuple[str, ...] = ()
    normalises: bool = False
