"""The SDKs in front of a provider that says anything."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from otel_llm_usage import Record, instrument, uninstrument

from .kit import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    records: list[Record] = []
    instrument(sinks=[records.append], otlp=False, spans="never", registry=CollectorRegistry())
    rig = Rig(records)
    yield rig
    rig.close()
    uninstrument()
