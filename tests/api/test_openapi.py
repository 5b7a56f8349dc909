"""The description is true: whatever follows it is answered as it says, whatever breaks it is refused."""

import threading
from typing import Any

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from otel_llm_usage import api
from otel_llm_usage.api.endpoints import OPERATIONS
from otel_llm_usage.api.openapi import document
from otel_llm_usage.ledger import Ledger
from tests.ledger.test_reports import TRAFFIC, fill

EXAMPLES = 25
ALL = [
    (method, path.replace(":path", ""))
    for path, methods in OPERATIONS.items()
    for method in methods
]


NOTHING_ASKED = ("/healthz", "/readyz", "/analytics/scopes/{id}")
"""What can't be asked wrongly."""


@pytest.fixture(scope="module", params=[False, "s3cret"], ids=["open", "token"])
def described(request, tmp_path_factory):
    """An API over some traffic, its description, and a session that may ask."""
    token = request.param
    folder = tmp_path_factory.mktemp("api")
    ledger = Ledger(folder / "usage.db", journal=folder / "journal")
    fill(ledger, TRAFFIC)
    server = uvicorn.Server(
        uvicorn.Config(api.app(ledger, token=token), port=0, log_level="critical")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    # what is well written may still be a question without an answer: since after until, no such zone
    said = {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "400", "404"]}}}
    if token:
        said["auth"] = {"openapi": {"bearer": {"bearer": token}}}
    config = SchemathesisConfig.from_dict(said)
    schema = schemathesis.openapi.from_dict(document("/", token=bool(token)), config=config)
    with requests.Session() as session:
        yield schema, {"base_url": f"http://127.0.0.1:{port}", "session": session}
    server.should_exit = True
    thread.join()
    ledger.close()


@pytest.mark.parametrize("token", [False, True])
def test_it_is_a_valid_description(token):
    found = document("/usage", token=token)
    validate(found)
    assert ("security" in found) == token
    assert {path for _, path in ALL} | {"/metrics"} == found["paths"].keys()


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *((*one, GenerationMode.POSITIVE) for one in ALL),
        *((*one, GenerationMode.NEGATIVE) for one in ALL if one[1] not in NOTHING_ASKED),
    ],
    ids=lambda value: value if isinstance(value, str) else value.value,
)
def test_every_answer_is_as_described(described, method, path, mode):
    schema, how = described
    cases = schema[path][method].as_strategy(generation_mode=mode)

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Any) -> None:
        case.call_and_validate(**how)

    ask()
