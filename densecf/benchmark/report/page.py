"""One HTML page with everything in it: no script, no font, no picture is fetched from anywhere."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from densecf.files import write_text_atomic
from densecf.visualization.templates import page_templates

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class DataFile:
    """A table to take away.

    Attributes:
        name: such as "table2.csv".
        text: CSV.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        content: PNG as bytes, or SVG as text.
        caption: what it shows, in a sentence or two.
        alt: what there is to see, for who cannot see it.
        data: what it was drawn from.
    """

    content: bytes | str
    caption: str
    alt: str
    data: DataFile | None = None


@dataclass(frozen=True)
class Output:
    """What a program printed, or what to type.

    Attributes:
        title: above it; may be empty.
        text: shown as it is.
    """

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """One heading and what stands under it, in this order.

    Attributes:
        heading: also its entry in the contents.
        text: paragraphs, with empty lines between them.
        tables: HTML of tables, already escaped.
        figures: pictures.
        outputs: what programs printed.
        data: the tables as CSV.
    """

    heading: str
    text: str = ""
    tables: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    outputs: Sequence[Output] = ()
    data: Sequence[DataFile] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing but a heading and words."""
        return not (self.tables or self.figures or self.outputs)


def write_page(
    path: Path | str, *, title: str, about: str, facts: Mapping[str, str], sections: Sequence[Section]
) -> Path:
    """Write the page: whole or not at all.

    Args:
        path: the HTML file.
        title: its heading.
        about: paragraphs under it, with empty lines between them.
        facts: name and value of what a reader looks up first.
        sections: what follows, in order.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    write_text_atomic(path, page(title=title, about=about, facts=facts, sections=sections))
    return Path(path)


def page(*, title: str, about: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The page as text; arguments as in `write_page`."""
    environment = page_templates(Path(__file__).parent)
    environment.filters |= {"paragraphs": _paragraphs, "image_url": _image_url, "csv_url": _csv_url}
    anchors = _anchors([section.heading for section in sections])
    return environment.get_template(TEMPLATE).render(
        title=title, about=about, facts=facts, sections=list(zip(anchors, sections, strict=True))
    )


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _image_url(content: bytes | str) -> str:
    # As an image, not as part of the page: the ids inside two SVGs could clash, and an image cannot run anything.
    if isinstance(content, str):
        return _data_url("image/svg+xml", content.encode())
    return _data_url("image/png", content)


def _csv_url(data: DataFile) -> str:
    return _data_url("text/csv;charset=utf-8", data.text.encode())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _anchors(headings: Sequence[str]) -> list[str]:
    """One id a heading, each once, and none that a table could have."""
    found: list[str] = []
    for heading in headings:
        name = "section-" + re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
        number = 1
        while (anchor := name if number == 1 else f"{name}-{number}") in found:
            number += 1
        found.append(anchor)
    return found
