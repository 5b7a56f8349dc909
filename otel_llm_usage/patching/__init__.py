"""Where billed HTTP responses enter the SDKs: the seams, and the engine that wraps them."""

from .engine import Engine, Seam, SeamState
from .observation import Meters, OnAbort

__all__ = ["Engine", "Meters", "OnAbort", "Seam", "SeamState"]
