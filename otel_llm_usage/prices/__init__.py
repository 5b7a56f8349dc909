"""What it costs: the maintained table, our overlay and the user's files, compiled into rate cards."""

from . import loading
from .catalogue import STALE_AFTER_DAYS, Catalogue, Layer, load_catalogue
from .holder import CatalogueHolder
from .inspection import (
    Difference,
    FileReport,
    ShownCard,
    ShownRate,
    check_file,
    diff,
    models,
    overlay_differences,
    owner,
    show,
)

__all__ = [
    "STALE_AFTER_DAYS",
    "Catalogue",
    "CatalogueHolder",
    "Difference",
    "FileReport",
    "Layer",
    "ShownCard",
    "ShownRate",
    "check_file",
    "diff",
    "load_catalogue",
    "loading",
    "models",
    "overlay_differences",
    "owner",
    "show",
]
