"""Whom the examples call: the real providers where there are keys, else the packaged stand-in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from otel_llm_usage.standin import StandIn


@contextmanager
def provider(*keys: str) -> Iterator[StandIn | None]:
    """Inside, clients that are made without arguments find a provider.

    `keys`: variables of the environment, all of which the real ones need. Gives the stand-in, where
    that is who answers.
    """
    if all(os.environ.get(key) for key in keys):
        yield None
        return
    before = dict(os.environ)
    with StandIn() as standin:
        os.environ.update(standin.environment())
        try:
            yield standin
        finally:
            os.environ.clear()
            os.environ.update(before)
