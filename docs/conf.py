"""How Sphinx builds the documentation site (`make docs`).

The source folder is the repository's root, so that links between Markdown files mean the same here and on GitHub.
"""

from pathlib import Path

from sphinx.application import Sphinx

project = "Kizu"
project_copyright = "the Kizu contributors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**"]
# Sphinx walks every folder that is not excluded, and the environments hold a hundred thousand files.
exclude_patterns = [
    ".*", "benchmarks", "components", "demo", "deploy", "docs/_build", "edge_agent", "inspection", "kizu", "locks",
    "pipelines", "reconciler", "tests", "tools", "use_cases", "build", "dist",
]  # fmt: skip

# Headings get the anchors that GitHub gives them.
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Kizu"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["print.css"]
# The pages are read in a closed network: code is coloured here, and there is no link back to a host.
pygments_style = "friendly"
pygments_dark_style = "monokai"

# Code blocks that are neither a program nor a format that Pygments knows are shown as they are.
highlight_language = "none"

_START_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Kizu</title>
<meta http-equiv="refresh" content="0; url=docs/index.html"></head>
<body><a href="docs/index.html">Kizu: documentation</a></body></html>
"""


def _write_start_page(app: Sphinx, error: Exception | None) -> None:
    """Lead from the site's root to the index, which lies in `docs/` as its source does."""
    if error is None and app.builder.name == "html":
        (Path(app.outdir) / "index.html").write_text(_START_PAGE, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", _write_start_page)
