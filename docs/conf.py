"""How Sphinx makes the site: ``make docs``. The Markdown serves as it is, on a code host too."""

import re

import densecf

project = "densecf"
version = release = densecf.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links such as datasets.md#masks, as code hosts understand them

html_theme = "furo"
html_title = f"densecf {release}"
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# What a link of the Markdown means on the site, where it leads out of this folder or to a folder.
LINKS = {
    r"(\.\./)+README\.md#your-own-images": "your-own-images.md",
    r"results/": "results/index.md",
}


def _adapt(app, docname, source):
    for link, page in LINKS.items():
        source[0] = re.sub(rf"\]\({link}\)", f"]({page})", source[0])


def setup(app):
    app.connect("source-read", _adapt)
