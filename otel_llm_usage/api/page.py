"""The files of the page, as they are in the package."""

from collections.abc import Mapping
from functools import cache
from importlib import resources

FILES: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/uplot.js": ("uplot/uPlot.iife.min.js", "text/javascript"),
    "/uplot.css": ("uplot/uPlot.min.css", "text/css"),
}
"""Which file and of what kind is at which path."""


@cache
def content(file: str) -> bytes:
    """What is in a file."""
    return resources.files(__package__).joinpath("static", file).read_bytes()
