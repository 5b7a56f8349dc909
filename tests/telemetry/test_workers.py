"""Real web servers with several worker processes: one right sum on /metrics."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
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
    "gunicorn sync": (WSGI, ["gunicorn", "-w", "3", "-b", "127.0.0.1:{port}", "app:app"]),
    "gunicorn gthread": (
        WSGI,
        ["gunicorn", "-w", "2", "--threads", "4", "-b", "127.0.0.1:{port}", "app:app"],
    ),
    "gunicorn preload": (
        WSGI,
        ["gunicorn", "--preload", "-w", "3", "-b", "127.0.0.1:{port}", "app:app"],
    ),
    "uvicorn": (ASGI, ["uvicorn", "--workers", "2", "--port", "{port}", "app:app"]),
}


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return answer.read().decode()


def _wait(port, server):
    for _ in range(300):
        assert server.poll() is None, server.stdout.read()
        try:
            return _get(port, "/metrics")
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not come up")


@pytest.mark.parametrize("name", SERVERS)
def test_the_sum_over_all_workers_is_what_was_billed(name, llm_standin, tmp_path):
    app, command = SERVERS[name]
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "multiproc").mkdir()
    port = _free_port()
    program = Path(sys.executable).parent / command[0]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "multiproc"),
        **llm_standin.environment(),
    }
    with subprocess.Popen(
        [program, *(word.format(port=port) for word in command[1:])],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            _wait(port, server)
            workers = {_get(port, "/work") for _ in range(40)}
            served = [_get(port, "/metrics") for _ in range(4)]
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=30)
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
        assert requests == 40
        assert dict(+tokens) == llm_standin.ledger.usage()
        assert cost == pytest.approx(float(llm_standin.ledger.usd()), abs=1e-9)
