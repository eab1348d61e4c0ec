"""The report in a real browser, without a network: nothing is missing, nothing complains, a phone can show it."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from densecf.benchmark.matrix import Ablation
from densecf.benchmark.report.make import make_report
from densecf.benchmark.report.page import Output, Picture, Section
from tests.benchmark.builders import MATRIX, make_results

LONG = "a-word-that-has-no-end-" * 20


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    png = tmp_path_factory.mktemp("png") / "wide.png"
    Image.new("RGB", (1800, 300), "grey").save(png)
    wide = Section("Pictures", figures=[Picture(png.read_bytes(), LONG, "a wide one")], outputs=[Output(LONG, LONG)])
    matrix = replace(MATRIX, seeds=(0,), protocols=("fair",), ablation=Ablation(("dvd-cl",), ("SDRCE", "RCE")))
    return make_report(
        matrix,
        make_results(matrix, noise=0.5),
        {LONG: LONG},
        {LONG: LONG},
        tmp_path_factory.mktemp("report"),
        pictures=[wide],
        dataset=LONG,
    )


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_opens_offline_without_a_complaint(browser, report, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, offline=True, color_scheme=scheme)
    page, complaints, asked = context.new_page(), [], []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url[:100]}"))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_load_state("load")
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert page.evaluate("document.images.length") > 5
    assert page.evaluate(broken) == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # tables scroll, not the page
    assert page.evaluate("getComputedStyle(document.querySelector('.page')).display") == "grid"  # the style is in force
    context.close()


def test_complaints_are_heard(browser, tmp_path):
    """A page that breaks its own rules is noticed: the policy is in force, and the test above can fail."""
    page = browser.new_context(offline=True).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    text = (
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><img src='http://localhost/a.png'>"
    )
    (tmp_path / "bad.html").write_text(text)
    page.goto((tmp_path / "bad.html").as_uri())
    page.wait_for_timeout(200)
    assert complaints
    page.context.close()


def test_contents_lead_to_their_sections_and_data_can_be_saved(browser, report, tmp_path):
    page = browser.new_context(offline=True, accept_downloads=True).new_page()
    page.goto(report.as_uri())
    links = page.locator("nav a")
    for place in range(links.count()):
        target = links.nth(place).get_attribute("href")
        assert page.locator(target).count() == 1
    with page.expect_download() as started:
        page.locator("a[download='table2-fair.csv']").click()
    started.value.save_as(tmp_path / "saved.csv")
    assert (tmp_path / "saved.csv").read_bytes() == (report.parent / "data" / "table2-fair.csv").read_bytes()
    page.context.close()


def test_prints(browser, report):
    page = browser.new_context(offline=True).new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("table").first.is_visible()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.context.close()
