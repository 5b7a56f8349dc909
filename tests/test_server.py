"""`/metrics` over real sockets, and inside WSGI and ASGI applications."""

import asyncio
import gzip
import http.client
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
import uvicorn
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette
from starlette.routing import Mount

from otel_llm_usage import instrument, uninstrument
from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.server import MetricsServer, asgi_app, wsgi_app

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    counter = Counter("answers", "Answers.", ["kind"], registry=registry)
    counter.labels("right").inc(42, exemplar={"trace_id": "abc"})
    return registry


@pytest.fixture
def serve(registry: CollectorRegistry) -> Iterator[Callable[..., MetricsServer]]:
    started: list[MetricsServer] = []

    def start(**options: Any) -> MetricsServer:
        started.append(MetricsServer(registry=registry, **options).start())
        return started[-1]

    yield start
    for server in started:
        server.close()


def get(
    port: int, path: str = "/metrics", method: str = "GET", host: str = "127.0.0.1", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    response = connection.getresponse()
    answer = (
        response.status,
        {name.lower(): value for name, value in response.getheaders()},
        response.read(),
    )
    connection.close()
    return answer


def right_answers(parse: Callable[..., Any], body: bytes) -> float:
    return next(
        sample.value
        for family in parse(body.decode())
        for sample in family.samples
        if sample.name == "answers_total"
    )


def test_a_scrape_gets_text(serve):
    status, headers, body = get(serve().port)
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert int(headers["content-length"]) == len(body)
    assert right_answers(parse_text, body) == 42


def test_who_asks_for_openmetrics_gets_it_with_exemplars(serve):
    status, headers, body = get(serve().port, accept=OPENMETRICS)
    assert status == 200
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert right_answers(parse_openmetrics, body) == 42
    assert b'# {trace_id="abc"}' in body


@pytest.mark.parametrize(
    ("accepted", "zipped"), [("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False)]
)
def test_gzip_is_used_where_it_is_accepted(serve, accepted, zipped):
    _, headers, body = get(serve().port, accept_encoding=accepted)
    assert (headers.get("content-encoding") == "gzip") is zipped
    assert right_answers(parse_text, gzip.decompress(body) if zipped else body) == 42


def test_head_has_the_headers_and_no_body(serve):
    status, headers, body = get(serve().port, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/x", "/favicon.ico"])
def test_other_paths_are_not_found(serve, path):
    assert get(serve().port, path)[0] == 404


def test_a_query_does_not_disturb(serve):
    assert get(serve().port, "/metrics?debug=1")[0] == 200


def test_other_methods_are_not_allowed(serve):
    status, headers, _ = get(serve().port, method="POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_health_needs_no_token(serve):
    assert get(serve(token="secret").port, "/healthz")[::2] == (200, b"ok\n")


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer secre", 401),
        ("Basic secret", 401),
        ("secret", 401),
        ("Bearer \xe4", 401),
        ("Bearer secret", 200),
        ("bearer secret", 200),
    ],
)
def test_a_token_is_required_where_one_is_set(serve, authorization, expected):
    headers = {} if authorization is None else {"authorization": authorization}
    status, answered, body = get(serve(token="secret").port, **headers)
    assert status == expected
    if expected == 401:
        assert answered["www-authenticate"] == "Bearer"
        assert b"answers_total" not in body


def test_bound_wider_without_a_token_there_is_one_warning(serve, caplog):
    with caplog.at_level(logging.WARNING, "otel_llm_usage"):
        server = serve(host="0.0.0.0")
    assert len(caplog.records) == 1
    assert "metrics_token" in caplog.text
    assert get(server.port)[0] == 200


@pytest.mark.parametrize(
    "options", [{}, {"host": "::1"}, {"host": "localhost"}, {"host": "0.0.0.0", "token": "t"}]
)
def test_on_loopback_or_with_a_token_there_is_no_warning(serve, caplog, options):
    serve(**options)
    assert not caplog.records


@pytest.mark.parametrize(("host", "asked"), [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"])])
def test_ipv6_is_served(serve, host, asked):
    server = serve(host=host, token="t")
    assert server.url == f"http://[::1]:{server.port}/metrics"
    for address in asked:
        assert get(server.port, host=address, authorization="Bearer t")[0] == 200


def test_by_default_only_this_machine_is_served(serve):
    server = serve()
    assert server.url == f"http://127.0.0.1:{server.port}/metrics"
    assert server._server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_says_what_to_do(serve):
    taken = serve().port
    with pytest.raises(ConfigurationError, match=rf"port {taken} .* in use.*METRICS_PORT"):
        serve(port=taken)


def test_a_host_that_is_not_here_says_what_to_do(serve):
    with pytest.raises(ConfigurationError, match="metrics_host"):
        serve(host="192.0.2.1")


def test_closing_frees_the_port(serve):
    server = serve()
    port = server.port
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        get(port)
    assert get(serve(port=port).port)[0] == 200


def test_a_client_that_says_nothing_does_not_block_others(serve):
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server.port)[0] == 200


class Broken:
    def describe(self) -> list[Any]:
        return []

    def collect(self) -> list[Any]:
        raise RuntimeError("boom")


@pytest.mark.faults
def test_metrics_that_cannot_be_collected_are_an_error_in_the_log(serve, registry, caplog):
    registry.register(Broken())
    status, _, body = get(serve().port)
    assert status == 500
    assert b"boom" not in body
    assert "otel-llm-usage failed in scrape" in caplog.text


def test_scrapes_may_come_at_once(serve):
    server = serve()
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(get(server.port)[0])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8


def test_a_forked_child_leaves_the_port_to_its_opener(python):
    seen = python(
        """
import json, os, socket
from prometheus_client import CollectorRegistry
from otel_llm_usage.server import MetricsServer
server = MetricsServer(registry=CollectorRegistry()).start()
read, write = os.pipe()
port = server.port
pid = os.fork()
if pid == 0:
    server.close()  # as at the child's exit: must not wait for a thread that is not here
    os.read(read, 1)
    os._exit(0)
server.close()
again = MetricsServer(port=port, registry=CollectorRegistry()).start()
os.write(write, b"x")
assert os.waitpid(pid, 0)[1] == 0
again.close()
print(json.dumps("fine"))
"""
    )
    assert json.loads(seen) == "fine"


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_as_a_wsgi_application(registry):
    with make_server(
        "127.0.0.1", 0, validator(wsgi_app(registry, "secret")), handler_class=Quiet
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.server_port
            assert get(port)[0] == 401
            for path in ("/metrics", "/"):
                status, headers, body = get(port, path, authorization="Bearer secret")
                assert status == 200
                assert int(headers["content-length"]) == len(body)
                assert right_answers(parse_text, body) == 42
            assert get(port, method="HEAD", authorization="Bearer secret")[::2] == (200, b"")
            assert get(port, "/metrics/", authorization="Bearer secret")[0] == 200
            assert get(port, "/other")[0] == 404
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("mounted", [False, True])
def test_as_an_asgi_application(registry, mounted):
    application: Any = asgi_app(registry, "secret")
    if mounted:
        application = Starlette(routes=[Mount("/metrics", application)])

    async def check() -> None:
        config = uvicorn.Config(application, port=0, log_level="critical", lifespan="on")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        path = "/metrics/" if mounted else "/metrics"
        assert (await asyncio.to_thread(get, port, path))[0] == 401
        status, headers, body = await asyncio.to_thread(
            get, port, path, accept=OPENMETRICS, authorization="Bearer secret"
        )
        assert status == 200
        assert int(headers["content-length"]) == len(body)
        assert right_answers(parse_openmetrics, body) == 42
        head = await asyncio.to_thread(
            get, port, path, method="HEAD", authorization="Bearer secret"
        )
        assert head[::2] == (200, b"")
        assert (await asyncio.to_thread(get, port, "/metrics/other"))[0] == 404
        server.should_exit = True
        await serving

    asyncio.run(check())


def ask(application: Any, **environ: str) -> tuple[str, str]:
    said: list[str] = []
    body = application(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", **environ},
        lambda status, headers: said.append(status),
    )
    return said[0][:3], b"".join(body).decode()


def test_a_mounted_application_takes_registry_and_token_from_the_running_runtime(registry):
    mounted = wsgi_app()
    own = wsgi_app(registry, "other")
    assert ask(mounted)[0] == "200"
    instrument(otlp=False, registry=CollectorRegistry(), metrics_token="secret")
    assert ask(mounted)[0] == "401"
    status, text = ask(mounted, HTTP_AUTHORIZATION="Bearer secret")
    assert status == "200"
    assert "llm_build_info" in text
    assert ask(own, HTTP_AUTHORIZATION="Bearer secret")[0] == "401"
    status, text = ask(own, HTTP_AUTHORIZATION="Bearer other")
    assert right_answers(parse_text, text.encode()) == 42
    uninstrument()
    status, text = ask(mounted)
    assert status == "200"
    assert "llm_build_info" not in text


def test_all_processes_are_seen_whichever_answers(python, tmp_path):
    seen = python(
        """
import json, os, urllib.request
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from otel_llm_usage.records import Cost, Record, Request, Usage
from otel_llm_usage.server import MetricsServer
from otel_llm_usage.telemetry.metrics import Metrics
metrics = Metrics(registry=CollectorRegistry())
request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-5")
record = Record("0" * 32, 1.8e9, request, "ok", Usage(input=3), "reported", Cost("free", 0))
pid = os.fork()
if pid == 0:
    metrics(record)
    os._exit(0)
os.waitpid(pid, 0)
server = MetricsServer(registry=metrics.registry).start()
text = urllib.request.urlopen(server.url).read().decode()
values = {
    sample.labels["type"]: sample.value
    for family in text_string_to_metric_families(text)
    for sample in family.samples
    if sample.name == "llm_tokens_total"
}
print(json.dumps(values))
""",
        PROMETHEUS_MULTIPROC_DIR=str(tmp_path),
    )
    assert json.loads(seen)["input"] == 3
