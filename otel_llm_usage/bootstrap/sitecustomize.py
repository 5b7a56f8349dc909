"""Found by Python itself under `otel-llm-usage run`: instruments before the program starts."""

import importlib
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _here]

# somebody's own sitecustomize, which ours hides, runs first
_ours = sys.modules.pop("sitecustomize", None)
try:
    importlib.import_module("sitecustomize")
except ImportError as error:
    if error.name != "sitecustomize":
        raise
    if _ours is not None:
        sys.modules["sitecustomize"] = _ours

try:
    _package = importlib.import_module("otel_llm_usage")
except ImportError as error:
    # a program below the one that was run, on a Python that lacks the package
    if error.name != "otel_llm_usage":
        raise
else:
    _package.instrument()
