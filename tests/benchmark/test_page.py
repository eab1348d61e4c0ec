"""The report's page: whole, in order, safe, and needing nothing but itself."""

import base64
import re
from html.parser import HTMLParser

import pytest

from densecf.benchmark.report.page import DataFile, Output, Picture, Section, page, write_page

HARM = '<script>alert("1 & 2")</script>'
CSV = DataFile("first.csv", "row,dsc\nNoné,87.05\n")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>'
PNG = b"\x89PNG\r\n\x1a\n not really"
SECTIONS = [
    Section("Table 2", "One.\n\nTwo.", tables=["<table><tr><th>row</th></tr></table>"], data=[CSV]),
    Section("Curves", figures=[Picture(SVG, "a caption", 'an "alt"', CSV), Picture(PNG, "another", "alt")]),
    Section("Table 2", outputs=[Output(HARM, HARM), Output("", "densecf benchmark")]),
]


class Reader(HTMLParser):
    """Tags with their attributes, and the text that a reader sees."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # everything is closed, in order

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


@pytest.fixture(scope="module")
def text() -> str:
    return page(title=f"A {HARM}", about=f"About {HARM}", facts={f"F {HARM}": f"V {HARM}"}, sections=SECTIONS)


def decoded(url: str) -> str:
    return base64.b64decode(url.split("base64,")[1]).decode()


def test_what_users_name_things_is_text(text):
    reader = Reader(text)
    assert not reader.of("script")
    assert "".join(reader.words).count(HARM) == 7  # page title, heading, about, fact twice, output twice
    assert not reader.open


def test_nothing_is_fetched(text):
    reader = Reader(text)
    places = [value for _, attributes in reader.tags for key, value in attributes.items() if key in ("src", "href")]
    assert places
    assert all(place.startswith(("data:", "#")) for place in places)
    assert not re.search(r"@import|url\(|https?:", re.sub(r'base64,[^"]*', "", text.replace('^="http"', "")))
    policy = next(a["content"] for a in reader.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")


def test_sections_come_in_order_and_each_has_its_place_in_the_contents(text):
    reader = Reader(text)
    ids = [attributes["id"] for attributes in reader.of("section")]
    assert ids == ["section-table-2", "section-curves", "section-table-2-2"]
    assert [a["href"] for a in reader.of("a") if a["href"].startswith("#")] == [f"#{name}" for name in ids]
    every = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(every) == len(set(every))
    assert re.findall("One|Two", "".join(reader.words)) == ["One", "Two"]
    assert [len(reader.of(tag)) for tag in ("header", "nav", "main", "h1", "h2", "table", "figure")] == [
        *(1, 1, 1, 1),
        *(3, 1, 2),
    ]


def test_data_can_be_taken_away(text):
    links = [a for a in Reader(text).of("a") if "download" in a]
    assert [a["download"] for a in links] == ["first.csv", "first.csv"]
    assert {decoded(a["href"]) for a in links} == {CSV.text}


def test_pictures_are_inside_and_described(text):
    images = Reader(text).of("img")
    assert [a["alt"] for a in images] == ['an "alt"', "alt"]
    assert decoded(images[0]["src"]) == SVG
    assert images[1]["src"].startswith("data:image/png;base64,")
    assert base64.b64decode(images[1]["src"].split(",")[1]) == PNG


def test_a_page_without_anything_has_no_empty_lists():
    reader = Reader(page(title="t", about="", facts={}, sections=[]))
    assert not reader.of("dl", "section", "figure", "table", "ol", "nav")


def test_write_page_writes_the_page(tmp_path):
    arguments = {"title": "t", "about": "a", "facts": {}, "sections": SECTIONS}
    path = write_page(tmp_path / "new" / "report.html", **arguments)
    assert path.read_text(encoding="utf-8") == page(**arguments)


@pytest.mark.parametrize(
    ("section", "empty"), [(Section("h", "words", data=[CSV]), True), *((section, False) for section in SECTIONS)]
)
def test_empty_sections_say_so(section, empty):
    assert section.is_empty == empty
