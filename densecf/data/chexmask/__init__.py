"""The CheXmask database: silver masks of the lungs and the heart for five public sets of chest radiographs."""

from densecf.data.run_lengths import decode, encode

__all__ = ["decode", "encode"]
