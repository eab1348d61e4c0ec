"""One HTML page on which a pixel's similarity to all others is seen by pointing at it.

The page (``explorer.html.j2``, ``explorer.js``) holds images, quantised embeddings and the program that compares them;
its own policy forbids it the network.
"""

import base64
import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from densecf.errors import DataError
from densecf.files import write_text_atomic
from densecf.visualization.quantise import PAIRS, Quantised
from densecf.visualization.templates import page_templates

TEMPLATE, SCRIPT = "explorer.html.j2", "explorer.js"
LIMIT = 10_000_000
"""Bytes that a page may have."""
STRIDES = {1: "", 2: "second", 3: "third", 4: "fourth"}
"""Every pixel, every second one of every second row, and so on: what is tried until the page is small enough."""
COLOURS = "RdBu_r"  # blue -1, white 0, red 1


@dataclass(frozen=True)
class View:
    """One image of the page.

    Attributes:
        title: above it.
        image: (H, W) float in [0, 1].
        valid: (H, W) bool, False where it is padding; None: all of it is image.
        place: views of the same place have the same number: a record and its counterfactuals.
    """

    title: str
    image: np.ndarray
    valid: np.ndarray | None
    place: int


@dataclass(frozen=True)
class Method:
    """One network's embeddings of all views.

    Attributes:
        name: of the run.
        embeddings: quantised, an image a view.
        mean_error, largest_error: of the similarity, as measured.
    """

    name: str
    embeddings: Quantised
    mean_error: float
    largest_error: float


@dataclass(frozen=True)
class Page:
    """The page.

    Attributes:
        text: HTML.
        stride: 2 when it holds every second pixel of every second row only.
    """

    text: str
    stride: int


def write_explorer(path: Path | str, title: str, views: Sequence[View], methods: Sequence[Method]) -> Page:
    """Write the page: whole or not at all. Arguments and errors as in `explorer_page`.

    Raises:
        DensecfError: the disk is full, or the place cannot be written.
    """
    page = explorer_page(title, views, methods)
    write_text_atomic(path, page.text)
    return page


def explorer_page(title: str, views: Sequence[View], methods: Sequence[Method], limit: int = LIMIT) -> Page:
    """The page, with as many pixels as it has room for.

    Args:
        title: its heading.
        views: at least one.
        methods: at least one; the first is shown first.
        limit: bytes.

    Raises:
        DataError: it is too large even with every fourth pixel of every fourth row.
    """
    for stride in STRIDES:
        text = _render(title, views, methods, stride)
        if len(text.encode()) < limit:
            return Page(text, stride)
    raise DataError(
        f"the page would have {len(text) / 1e6:.1f} MB, and {limit / 1e6:.1f} MB are allowed: "
        "show fewer images or runs, or allow a larger error (--error)"
    )


def _render(title: str, views: Sequence[View], methods: Sequence[Method], stride: int) -> str:
    folder = Path(__file__).parent
    environment = page_templates(folder)
    script = (folder / SCRIPT).read_text(encoding="utf-8")
    return environment.get_template(TEMPLATE).render(
        title=_printable(title),
        views=[{"title": _printable(view.title), "picture": _png(view.image)} for view in views],
        methods=[_method_facts(method) for method in methods],
        pairs=PAIRS,
        nth=STRIDES[stride],
        gradient=", ".join(f"rgb({red} {green} {blue})" for red, green, blue in palette()[::15]),
        script=script,
        # The browser runs this text and no other.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data={
            "stride": stride,
            "palette": _base64(np.insert(palette(), 3, 255, axis=1).tobytes()),
            "views": [_view_data(view, stride) for view in views],
            "methods": [_method_data(method, stride) for method in methods],
        },
    )


def palette() -> np.ndarray:
    """Colours of the similarities from -1 to 1, (256, 3) uint8."""
    return np.rint(matplotlib.colormaps[COLOURS](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8)


def _view_data(view: View, stride: int) -> dict[str, Any]:
    valid = np.ones(view.image.shape, bool) if view.valid is None else view.valid
    rows, columns = view.image.shape
    return {
        "title": _printable(view.title),
        "rows": len(range(0, rows, stride)),
        "columns": len(range(0, columns, stride)),
        "place": view.place,
        "valid": _packed(valid[::stride, ::stride].astype(np.uint8)),
    }


def _method_data(method: Method, stride: int) -> dict[str, Any]:
    coded = method.embeddings
    return {
        "name": _printable(method.name),
        "bits": 8 * coded.codes[0].itemsize,
        "centres": coded.centres.tolist(),
        "steps": coded.steps.tolist(),
        "codes": [_packed(codes[:, ::stride, ::stride]) for codes in coded.codes],
    }


def _method_facts(method: Method) -> dict[str, Any]:
    coded = method.embeddings
    return {
        "name": _printable(method.name),
        "kept": len(coded.steps),
        "dimension": coded.dimension,
        "bits": 8 * coded.codes[0].itemsize,
        "bound": coded.bound,
        "mean_error": method.mean_error,
        "largest_error": method.largest_error,
    }


def _packed(array: np.ndarray) -> str:
    """Little-endian, zlib, base64."""
    array = np.ascontiguousarray(array)
    return _base64(zlib.compress(array.astype(array.dtype.newbyteorder("<")).tobytes(), 9))


def _png(image: np.ndarray) -> str:
    content = io.BytesIO()
    Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{_base64(content.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _printable(text: str) -> str:
    """File names may hold bytes that are no text."""
    return text.encode("utf-8", "replace").decode()
