"""How the classes stand in masks drawn by hand: by value, by colour channel, or a file each."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

CODING_FILE = "masks.yaml"
IMAGES, LABELS = "images", "labels"
KNOWN_CLASSES = ("left_lung", "right_lung", "heart")


class Coding(BaseModel):
    """How mask images say which class a pixel is of; the content of ``masks.yaml``. Exactly one of the three is given.

    Attributes:
        channels: class -> colour channel (0 red, 1 green, 2 blue) that is above 0 there.
        values: class -> grey value, or index of a palette. All others but 0 are errors.
        files: class -> folder of binary images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: dict[str, int] = Field(default_factory=dict)
    values: dict[str, int] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_kind(self) -> "Coding":
        if bool(self.channels) + bool(self.values) + bool(self.files) != 1:
            raise ValueError("give exactly one of channels, values and files, with at least one class")
        codes = [*self.channels.values(), *self.values.values(), *self.files.values()]
        if len(set(codes)) < len(codes):
            raise ValueError("two classes have the same code")
        if any(channel not in range(4) for channel in self.channels.values()):
            raise ValueError("channels are 0 (red), 1 (green), 2 (blue) or 3 (alpha)")
        if any(Path(folder).name != folder or folder in ("", "..") for folder in self.files.values()):
            raise ValueError("files are names of folders beside masks.yaml")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Background first, then the lungs and the heart, then others as given."""
        given = [*self.channels, *self.values, *self.files]
        known = [name for name in KNOWN_CLASSES if name in given]
        return ("background", *known, *(name for name in given if name not in (*known, "background")))

    @property
    def folders(self) -> list[str]:
        """The folders of mask images, for ``files`` in the order of the classes."""
        return [self.files[name] for name in self.class_names[1:]] if self.files else [LABELS]


AUTHORS = Coding(channels={"left_lung": 2, "right_lung": 1})
INDICES = Coding(values={"left_lung": 1, "right_lung": 2})
