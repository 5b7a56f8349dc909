"""What a command has found out, for the textfile collector of Prometheus's node_exporter."""

import os
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from .. import files
from .definitions import RECONCILE_RESIDUAL
from .series import clean


def write_residuals(
    path: str | os.PathLike[str],
    provider: str,
    residuals: Mapping[str, float],
    *,
    namespace: str = "llm",
) -> None:
    """Put `llm_reconcile_residual_ratio` into a file, as a whole; one file for each provider.

    `ConfigurationError` if there is no such folder, `OSError` where the system can't write.
    """
    registry = CollectorRegistry()
    gauge = Gauge(
        RECONCILE_RESIDUAL.family(namespace),
        RECONCILE_RESIDUAL.documentation,
        RECONCILE_RESIDUAL.labels,
        registry=registry,
    )
    for kind, ratio in residuals.items():
        gauge.labels(clean(provider), clean(kind)).set(ratio)
    files.write(path, generate_latest(registry))
