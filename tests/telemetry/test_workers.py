"""Web servers in prometheus_client's own multi-process mode, where the user chose that: the right sum, too."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parent.parent.parent

WSGI = """
import os
import openai
from otel_llm_usage import agent, instrument
from otel_llm_usage.server import wsgi_app

instrument(otlp=False)
client = openai.OpenAI()
metrics = wsgi_app()

def app(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        return metrics(environ, start_response)
    with agent("web"):
        client.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
        )
    start_response("200 OK", [("content-type", "text/plain")])
    return [str(os.getpid()).encode()]
"""
ASGI = """
import os
import openai
from otel_llm_usage import agent, instrument
from otel_llm_usage.server import asgi_app

instrument(otlp=False)
client = openai.AsyncOpenAI()
metrics = asgi_app()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/metrics":
        return await metrics(scope, receive, send)
    with agent("web"):
        await client.chat.completions.create(
            model="gpt-4.1", messages=[{"role": "user", "content": "hello"}]
        )
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
SERVERS = {
    "gunicorn preload": (
        WSGI,
        ["gunicorn", "--preload", "-w", "2", "--threads", "4", "-b", "127.0.0.1:0", "app:app"],
    ),
    "uvicorn": (ASGI, ["uvicorn", "--workers", "2", "--port", "0", "app:app"]),
}


@contextmanager
def _serving(command, folder, environment):
    """A web server while it runs; the port that it took, which it tells."""
    with subprocess.Popen(
        [Path(sys.executable).parent / command[0], *command[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        said = []
        try:
            for line in server.stdout:
                said.append(line)
                if told := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                    yield int(told[1])
                    break
            else:
                pytest.fail("the server did not come up")
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                said.append(server.communicate(timeout=90)[0])
            finally:
                server.kill()
                print(*said)  # pytest shows it if the test fails


def _get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
        return answer.read().decode()


def _wait(port):
    end = time.monotonic() + 120
    while True:
        try:
            return _get(port, "/metrics")
        except OSError:
            # the port is bound before anybody listens on it
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.1)


def _wait_for(port, calls):
    """What a worker counted a moment ago, the others see a moment later."""
    end = time.monotonic() + 60
    while _requests(_get(port, "/metrics")) < calls:
        assert time.monotonic() < end, "calls are missing"
        time.sleep(0.05)


def _requests(text):
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "llm_requests_total"
    )


def _work(port):
    """The worker that answered each of at least 40 requests.

    The first worker that is ready may answer all of them alone: there are more, eight at a time,
    until another one has answered.
    """
    workers = Counter()
    end = time.monotonic() + 120
    with ThreadPoolExecutor(8) as pool:
        while workers.total() < 40 or (len(workers) < 2 and time.monotonic() < end):
            workers.update(pool.map(lambda _: _get(port, "/work"), range(8)))
    return workers


@pytest.mark.parametrize("name", SERVERS)
def test_the_sum_over_all_workers_is_what_was_billed(name, llm_standin, tmp_path):
    app, command = SERVERS[name]
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "multiproc").mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "PYTHONUNBUFFERED": "1",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "multiproc"),
        **llm_standin.environment(),
    }
    with _serving(command, tmp_path, environment) as port:
        _wait(port)
        workers = _work(port)
        _wait_for(port, workers.total())
        served = [_get(port, "/metrics") for _ in range(4)]
    assert len(workers) > 1
    for text in served:
        tokens = Counter()
        requests = cost = 0
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "llm_tokens_total":
                    tokens[sample.labels["type"]] += int(sample.value)
                elif sample.name == "llm_requests_total":
                    requests += sample.value
                elif sample.name == "llm_cost_total":
                    cost += sample.value
        assert requests == workers.total() == len(llm_standin.ledger)
        assert dict(+tokens) == llm_standin.ledger.usage()
        assert cost == pytest.approx(float(llm_standin.ledger.usd()), abs=1e-9)
