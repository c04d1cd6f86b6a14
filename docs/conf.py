"""Sphinx: Furo, MyST, the commands' reference from the commands themselves, the changelog from its fragments.

Nothing on a built page is asked of another host: fonts and scripts come with the theme.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from changelog import unreleased

from underway import __version__

project = "Underway"
author = "The Underway developers"
copyright = "The Underway developers, Apache-2.0"  # noqa: A001  Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx_click"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"Underway {__version__}"
html_show_sphinx = False
html_extra_path = ["../src/underway/schemas"]  # published beside the pages: /cluster.schema.json and the others
html_copy_source = False


def _with_fragments(_app: Sphinx, name: str, source: list[str]) -> None:
    if name == "changelog":
        fragments = Path(__file__).parents[1] / "changes"
        source[0] = source[0].replace("<!-- fragments of changes/ -->", unreleased(fragments))


def setup(app: Sphinx) -> None:
    """Put the fragments of changes/ into the changelog."""
    app.connect("source-read", _with_fragments)
