"""Web servers whose workers come and go: `/metrics` of any of them is what the provider billed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .kit import billed, environment, eventually, free_port, get, running, samples, sums, work

WSGI = """
import os
import openai

client = openai.OpenAI()

def app(environ, start_response):
    if environ["PATH_INFO"] == "/work":
        client.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
        )
    start_response("200 OK", [("content-type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
MOUNTED = (
    """
from otel_llm_usage import instrument
from otel_llm_usage.server import wsgi_app

instrument(otlp=False)
metrics = wsgi_app()
"""
    + WSGI
    + """
work = app

def app(environ, start_response):
    serve = metrics if environ["PATH_INFO"] == "/metrics" else work
    return serve(environ, start_response)
"""
)
ASGI = """
import os
import openai
from otel_llm_usage import instrument
from otel_llm_usage.server import asgi_app

instrument(otlp=False)
metrics = asgi_app()
client = openai.AsyncOpenAI()

async def app(scope, receive, send):
    if scope["type"] == "lifespan" or scope["path"] == "/metrics":
        return await metrics(scope, receive, send)
    if scope["path"] == "/work":
        await client.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
        )
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
BIND = ("-b", "127.0.0.1:0", "--graceful-timeout", "5")
SERVERS = {
    "gunicorn sync": (MOUNTED, ["gunicorn", "-w", "2", *BIND, "app:app"]),
    "gunicorn gthread, preloaded": (
        MOUNTED,
        ["gunicorn", "--preload", "-w", "2", "--threads", "4", *BIND, "app:app"],
    ),
    "gunicorn with uvicorn's workers": (
        ASGI,
        ["gunicorn", "-w", "2", "-k", "uvicorn.workers.UvicornWorker", *BIND, "app:app"],
    ),
    "uvicorn": (ASGI, ["uvicorn", "--workers", "2", "--port", "0", "app:app"]),
}


@pytest.fixture
def shown(llm_standin) -> Iterator[list[dict]]:
    """Whatever was shown; none of it may be more than was billed, and nothing falls."""
    seen: list[dict] = []
    yield seen
    requests = [one["llm_requests_total"] for one in seen]
    assert requests == sorted(requests)


@pytest.mark.parametrize("name", SERVERS)
def test_workers_that_are_killed_ended_and_replaced_stay_in_the_sum(
    name, llm_standin, tmp_path, shown
):
    app, command = SERVERS[name]
    (tmp_path / "app.py").write_text(app)
    with running(command, tmp_path, environment(llm_standin, tmp_path)) as server:
        port = server.port()
        eventually(lambda: get(port, "/"))
        for ends in ((signal.SIGKILL, signal.SIGTERM), ()):
            workers = work(port, 12)
            for _ in range(3):  # whichever worker answers
                shown.append(sums(get(port, "/metrics")))
                assert shown[-1] == billed(llm_standin.ledger)
            for pid, end in zip(workers, ends, strict=False):
                os.kill(pid, end)


def test_run_shows_the_sum_of_workers_that_are_recycled(llm_standin, tmp_path, shown):
    (tmp_path / "app.py").write_text(WSGI)
    port = free_port()
    server = ["gunicorn", "-w", "2", "--threads", "2", "--max-requests", "9", *BIND, "app:app"]
    command = ["otel-llm-usage", "run", "--metrics-port", str(port), "--", *server]
    with running(command, tmp_path, environment(llm_standin, tmp_path)) as program:
        app = program.port()
        eventually(lambda: get(app, "/"))
        for times, workers in ((20, 3), (4, 1)):
            work(app, times, workers)
            shown.append(sums(get(port, "/metrics")))
            assert shown[-1] == billed(llm_standin.ledger)
        text = get(port, "/metrics")
        # the master has loaded no SDK and no price: what its workers say of that is shown
        assert samples(text, "llm_seam_patched")
        assert set(samples(text, "llm_seam_patched").values()) == {1.0}
        assert samples(text, "llm_price_catalogue_age_seconds")
    assert "in use" not in program.said


def test_the_port_of_a_worker_that_ends_is_taken_over(llm_standin, tmp_path, shown):
    port = free_port()
    (tmp_path / "app.py").write_text(ASGI.replace("otlp=False", f"otlp=False, metrics_port={port}"))
    command = ["uvicorn", "--workers", "2", "--port", "0", "app:app"]
    with running(command, tmp_path, environment(llm_standin, tmp_path)) as server:
        app = server.port()
        eventually(lambda: get(port, "/metrics"))
        for _ in range(2):
            workers = work(app, 8)
            shown.append(sums(get(port, "/metrics")))
            assert shown[-1] == billed(llm_standin.ledger)
            owner = next(pid for pid in workers if _listens(pid, port))
            os.kill(owner, signal.SIGKILL)
            eventually(lambda: get(port, "/metrics"))
            assert sums(get(port, "/metrics")) == billed(llm_standin.ledger)
    assert "in use" not in server.said


def _listens(pid: int, port: int) -> bool:
    ours = {
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }
    held = (os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir())
    return any(name.removeprefix("socket:[").rstrip("]") in ours for name in held)
