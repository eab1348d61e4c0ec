"""The explorer page: in a real browser without a network, it draws the similarities that Python computes."""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from densecf.errors import DataError
from densecf.visualization.explorer import Method, View, explorer_page, palette, write_explorer
from densecf.visualization.quantise import measured_error, quantise

ERROR = 0.04
TITLE = "a</script><b>&.png"
SHAPES = [(24, 24), (24, 24), (20, 28)]


def make_features(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((16, 4))
    return [np.tensordot(mixing, rng.standard_normal((4, *shape)), axes=1).astype(np.float32) for shape in SHAPES]


FEATURES = [make_features(seed) for seed in (1, 2)]
VALID = [np.arange(24)[:, None] + np.zeros(24, int) >= 3, None, None]


def similarity(run: int, view: int, row: int, column: int) -> list[np.ndarray]:
    """To every pixel of every view, by its definition."""
    pixel = FEATURES[run][view][:, row, column]
    return [
        np.tensordot(pixel, other, axes=1) / (np.linalg.norm(pixel) * np.linalg.norm(other, axis=0))
        for other in FEATURES[run]
    ]


def make_parts() -> tuple[list[View], list[Method]]:
    titles, places = [TITLE, "do(scanner=other)", "b.png"], [0, 0, 1]
    rng = np.random.default_rng(0)
    views = [View(*each) for each in zip(titles, [rng.random(shape) for shape in SHAPES], VALID, places, strict=True)]
    methods = []
    for name, features in zip(("first-run", "second-run"), FEATURES, strict=True):
        quantised = quantise(features, ERROR, VALID)
        methods.append(Method(name, quantised, *measured_error(features, quantised, VALID, pairs=1000)))
    return views, methods


def test_the_page_is_made_smaller_until_it_fits():
    views, methods = make_parts()
    whole = explorer_page("page", views, methods)
    assert whole.stride == 1
    thinner = explorer_page("page", views, methods, limit=len(whole.text.encode()))
    assert thinner.stride == 2
    assert len(thinner.text.encode()) < len(whole.text.encode())
    assert "every second pixel of every second row" in thinner.text
    assert "every second pixel" not in whole.text
    with pytest.raises(DataError, match="--error"):
        explorer_page("page", views, methods, limit=1000)


def test_titles_are_text_and_nothing_is_fetched():
    views, methods = make_parts()
    text = explorer_page(TITLE + "\udcff", views, methods).text
    assert "<b>" not in text
    assert text.count("</script>") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert f"{methods[0].embeddings.bound:.3f}" in text


@pytest.fixture
def page(browser, tmp_path) -> Iterator:
    write_explorer(tmp_path / "page.html", TITLE, *make_parts())
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    page, complaints, asked = context.new_page(), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("#pin:not([disabled])")
    yield page
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [(tmp_path / "page.html").as_uri()]
    context.close()


def hover(page, view: int, row: int, column: int) -> None:
    """The mouse, over the middle of a pixel; until that is drawn."""
    canvas = page.locator("canvas").nth(view)
    canvas.scroll_into_view_if_needed()
    box, (rows, columns) = canvas.bounding_box(), SHAPES[view]
    page.mouse.move(box["x"] + box["width"] * (column + 0.5) / columns, box["y"] + box["height"] * (row + 0.5) / rows)
    settle(page)


def settle(page) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def drawn(page, view: int) -> np.ndarray:
    """The similarities that the colours of a canvas stand for; NaN where nothing is drawn."""
    canvas = page.locator("canvas").nth(view)
    pixels = canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    pixels = np.array(pixels).reshape(*SHAPES[view], 4)
    distance = np.abs(pixels[:, :, None, :3] - palette().astype(int)).sum(axis=-1)
    found = np.linspace(-1, 1, 256)[distance.argmin(axis=-1)]
    assert (distance.min(axis=-1)[pixels[..., 3] > 0] == 0).all()
    return np.where(pixels[..., 3] > 0, found, np.nan)


def test_draws_what_python_computes_and_switches_runs(page):
    for run in (0, 1):
        page.select_option("#run", str(run))
        page.wait_for_selector(f"footer p[data-method='{run}']:not([hidden])")
        for view, row, column in ((0, 12, 5), (2, 19, 27)):
            hover(page, view, row, column)
            for other, expected in enumerate(similarity(run, view, row, column)):
                found = drawn(page, other)
                valid = np.ones(SHAPES[other], bool) if VALID[other] is None else VALID[other]
                assert np.array_equal(np.isfinite(found), valid)
                assert np.abs(found - expected)[valid].max() <= ERROR + 1 / 255  # 256 colours


def test_a_pinned_pixel_stays_and_values_are_read(page):
    hover(page, 0, 12, 5)
    page.mouse.down()
    page.mouse.up()
    expected = similarity(0, 0, 12, 5)
    hover(page, 1, 20, 9)
    text = page.inner_text("#status").replace("\u2212", "-")
    assert float(text.split()[0]) == pytest.approx(expected[1][20, 9], abs=ERROR + 5e-4)
    assert "row 20, column 9 of do(scanner=other)" in text
    assert f"pinned: row 12, column 5 of {TITLE}" in text
    same_place = page.locator("figure output").nth(1).inner_text().replace("\u2212", "-")
    assert float(same_place.split()[-1]) == pytest.approx(expected[1][12, 5], abs=ERROR + 5e-4)
    assert page.locator("figure output").nth(2).inner_text() == ""  # another patient
    hover(page, 0, 0, 0)
    assert page.inner_text("#status").startswith("no image at row 0")
    page.click("#pin")
    settle(page)
    assert page.inner_text("#status") == f"No image at row 0, column 0 of {TITLE}"


def test_keys_move_and_pin(page):
    page.locator("canvas").nth(1).focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    settle(page)
    assert page.inner_text("#status") == "Similarity to row 3, column 14 of do(scanner=other)"
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowUp")  # the border holds it
    settle(page)
    assert "row 0, column 14 of do(scanner=other); pinned: row 3, column 14" in page.inner_text("#status")
    page.keyboard.press("Escape")
    settle(page)
    assert page.inner_text("#status") == "Similarity to row 0, column 14 of do(scanner=other)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone(browser, tmp_path, scheme):
    write_explorer(tmp_path / "page.html", TITLE, *make_parts())
    context = browser.new_context(
        offline=True, viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True
    )
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("#pin:not([disabled])")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    canvas = page.locator("canvas").nth(1)
    pixel = canvas.bounding_box()["width"] / 24
    canvas.tap(position={"x": 12.5 * pixel, "y": 12.5 * pixel})
    settle(page)
    assert page.inner_text("#status") == "Similarity to row 12, column 12 of do(scanner=other)"
    assert page.inner_text("#pin") == "Pin"  # a finger only points
    context.close()
