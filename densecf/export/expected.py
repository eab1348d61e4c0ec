"""What a network expects of an image: the facts that every export carries, for people and for machines."""

from __future__ import annotations

from densecf.data.profiles import get_profile
from densecf.export.source import Source
from densecf.models.unet import MEAN, STD

_RENDERED = "robust"
"""What is taken for images from files where the training images were rendered, not read (the phantom)."""
_PADDED = "the long side becomes the size, in the middle of a square; 0 beside the image"
_WINDOW = (
    "0 and 1 are the 0.5 and 99.5 percentiles inside the constant borders, values beyond are clipped; "
    "MONOCHROME1 is turned around"
)
WORDS = {
    "robust": (_WINDOW, _PADDED),
    "breast": (f"{_WINDOW}; then all beside the largest region above 5/255 becomes 0", _PADDED),
    "authors": ("divided by the largest value", "the short side becomes the size, the middle of the long one is kept"),
}
"""For each of `densecf.data.profiles`: what becomes of its values, and of its shape (all by an antialiased bilinear
filter)."""


def profile_of(source: Source) -> str:
    """The profile for images from files."""
    return str(source.facts.get("profile") or _RENDERED)


def expected_input(source: Source, *, normalises: bool) -> dict[str, str]:
    """By name, in words.

    Args:
        source: what is exported.
        normalises: whether what is written subtracts the mean itself.
    """
    profile = get_profile(profile_of(source))
    values, shape = WORDS[profile.name]
    by = "the network itself does it" if normalises else "to be done before the network"
    return {
        "image": f"one grey channel, {source.size} x {source.size} pixels, rows first: float32 (B, 1, H, W)",
        "grey levels": "from 0 (black) to 1 (white)",
        "normalisation": f"`(x - {MEAN}) / {STD}`; {by}",
        "profile": f"{profile.name} {profile.version}"
        + ("" if source.facts.get("profile") else ", for images from files: those of the training were rendered"),
        "values": values,
        "shape": f"{shape}; bilinear, antialiased",
        "in densecf": f'`densecf.data.profiles.load_image(file, {source.size}, "{profile.name}")[0]`',
    }
