"""`otel-llm-usage serve`: on loopback, or with a token; and news as they come."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from otel_llm_usage import ConfigurationError, api, instrument
from otel_llm_usage.api import live
from otel_llm_usage.api.live import News
from otel_llm_usage.ledger import Ledger

from .conftest import ASK

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(place, *more, **environment):
    """The command as its user runs it; gives where it serves, and the process."""
    command = [sys.executable, "-m", "otel_llm_usage", "serve", "--port", "0", *more]
    env = {
        **os.environ,
        "OTEL_LLM_USAGE_LEDGER": str(place),
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        said = process.stdout.readline()
        assert "http://" in said, said + process.stderr.read()
        yield said.split()[-1].rstrip("/"), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_on_loopback_only_this_machines_names_are_answered(tmp_path):
    with serving(tmp_path / "usage.db") as (url, _):
        port = url.rpartition(":")[2]
        for host in (f"127.0.0.1:{port}", "localhost", f"LOCALHOST:{port}", "[::1]:80"):
            assert httpx.get(f"{url}/readyz", headers={"host": host}).status_code == 200
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
            for path in ("/", "/analytics/tokens", "/healthz"):
                answer = httpx.get(url + path, headers={"host": host})
                assert answer.status_code == 421
            answer = httpx.post(f"{url}/analytics/tokens/reset", json={}, headers={"host": host})
            assert answer.status_code == 421


def test_with_a_token_any_name_will_do(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    for more in (
        {"more": ["--token-file", str(tmp_path / "token")], "environment": {}},
        {"more": [], "environment": {"OTEL_LLM_USAGE_API_TOKEN": "s3cret"}},
    ):
        with serving(tmp_path / "usage.db", *more["more"], **more["environment"]) as (url, _):
            given = {"host": "usage.corp.example", "authorization": "Bearer s3cret"}
            assert httpx.get(f"{url}/analytics/tokens", headers=given).status_code == 200
            assert httpx.get(f"{url}/analytics/tokens").status_code == 401


def run(*arguments, **environment):
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "otel_llm_usage", "serve", *arguments],
        env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_what_cannot_be_served_is_one_line(tmp_path):
    place = str(tmp_path / "usage.db")
    for arguments, says in (
        ((), "--ledger"),
        (("--ledger", place, "--host", "0.0.0.0", "--port", "0"), "--token-file"),
        (("--ledger", place, "--host", "no-such-host.invalid"), "--host"),
        (("--ledger", place, "--token-file", str(tmp_path / "none")), "token file"),
        (("--ledger", "mysql://u:s3cret@host/x"), "PostgreSQL"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stderr.count("\n"), done.stdout) == (1, 1, "")
        assert says in done.stderr
        assert "s3cret" not in done.stderr
    with pytest.raises(ConfigurationError, match="serve on"):
        api.serve(place, host="0.0.0.0", port=0)


@pytest.mark.parametrize(("sent", "code"), [("SIGTERM", -15), ("SIGINT", 0)])
def test_a_signal_ends_it_while_a_page_listens(tmp_path, sent, code):
    with serving(tmp_path / "usage.db") as (url, process):
        with httpx.stream("GET", f"{url}/events", timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            next(answer.iter_lines())
            process.send_signal(getattr(signal, sent))
            assert process.wait(timeout=30) == code
        assert process.stderr.read() == ""


# ------------------------------------------------------------ news


def events(answer):
    """The events of a stream, as they come."""
    name = None
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_whoever_listens_hears_of_the_next_call(llm_standin, runtime, served):
    with (
        served(api.app(token=False)) as url,
        httpx.stream("GET", f"{url}/events", timeout=60) as answer,
        openai.OpenAI() as client,
    ):
        news = events(answer)
        assert next(news)[1]["calls"] == 0
        for number in (1, 2):
            client.chat.completions.create(model="gpt-4.1", messages=ASK)
            name, now = next(news)
            assert (name, now["calls"]) == ("usage", number)
    assert now["known_cost_usd"] == f"{llm_standin.ledger.usd():f}"


async def test_many_listeners_are_one_question(monkeypatch):
    monkeypatch.setattr(live, "EVERY", 0.05)
    asked = 0

    async def look():
        nonlocal asked
        asked += 1
        return {"calls": asked // 3}

    news = News(look)

    async def listen():
        heard = []
        stream = news.events()
        async for event in stream:
            heard.append(event)
            if len(heard) == 3:
                break
        await stream.aclose()
        return heard

    heard = await asyncio.gather(*(listen() for _ in range(50)))
    assert all(one == heard[0] for one in heard)
    assert asked <= 7  # 6 looks for two changes, and one that may have begun
    before = asked
    await asyncio.sleep(0.3)
    assert asked == before  # nobody listens, nobody looks


@pytest.mark.faults
def test_listeners_hear_that_the_ledger_is_away_and_that_it_is_back(tmp_path, served):
    place = tmp_path / "usage.db"
    place.write_bytes(b"this is no database " * 500)
    ledger = Ledger(place, journal=tmp_path / "journal")
    with (
        served(api.app(ledger, token=False)) as url,
        httpx.stream("GET", f"{url}/events", timeout=60) as answer,
    ):
        news = events(answer)
        assert next(news) == ("away", {})
        place.unlink()
        name, now = next(news)
        assert (name, now["calls"]) == ("usage", 0)
    ledger.close()


def test_a_busy_ledger_does_not_hold_up_the_event_loop(tmp_path, served, monkeypatch):
    ledger = Ledger(tmp_path / "usage.db", journal=tmp_path / "journal")
    ready = threading.Event()
    migrate = ledger.migrate
    monkeypatch.setattr(ledger, "migrate", lambda: ready.wait(60) and migrate())
    with served(api.app(ledger, token=False)) as url, httpx.Client(timeout=60) as client:
        slow = [
            threading.Thread(target=httpx.get, args=(f"{url}/readyz",), kwargs={"timeout": 60})
            for _ in range(3)
        ]
        for one in slow:
            one.start()
        time.sleep(0.3)
        assert client.get(f"{url}/page.css").status_code == 200
        ready.set()
        for one in slow:
            one.join()
    ledger.close()


def test_it_is_not_imported_with_the_package(python):
    out = python(
        "import sys, otel_llm_usage, otel_llm_usage.cli\n"
        "print(sorted({'starlette', 'uvicorn', 'anyio'} & set(sys.modules)))"
    )
    assert out.strip() == "[]"
    assert instrument(otlp=False)
