"""What is public, and what importing and instrumenting may not do."""

import socket
import time
import types

import pytest
from prometheus_client import CollectorRegistry

import otel_llm_usage
from otel_llm_usage import ConfigurationError, Request, instrument, uninstrument
from otel_llm_usage.meter import Outcome
from otel_llm_usage.runtime import current
from otel_llm_usage.testing import llm_records


def test_all_is_what_is_visible():
    visible = {
        name
        for name, value in vars(otel_llm_usage).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert visible | {"__version__"} == set(otel_llm_usage.__all__)


def test_instrument_imports_no_sdk_no_price_table_and_touches_no_network(python):
    out = python(
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import otel_llm_usage\n"
        "otel_llm_usage.instrument()\n"
        "heavy = {'openai', 'anthropic', 'google.genai', 'genai_prices', 'opentelemetry.sdk', 'grpc',\n"
        "         'pydantic', 'starlette', 'rich', 'click', 'pytest', 'sqlalchemy',\n"
        "         'otel_llm_usage.estimation'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    assert out.strip() == "[]"


def test_it_works_without_any_sdk(python):
    out = python(
        "import sys\n"
        "for name in ('openai', 'anthropic', 'google.genai'): sys.modules[name] = None\n"
        "import otel_llm_usage\n"
        "runtime = otel_llm_usage.instrument()\n"
        "print({s for sdk in runtime.status()['sdks'].values() for s in sdk['seams'].values()})\n"
        "otel_llm_usage.uninstrument()\n"
    )
    assert out.strip() == "{'waiting'}"


def test_a_second_instrument_does_nothing_new_and_says_so(caplog):
    first = instrument(otlp=False)
    assert instrument() is first
    assert not caplog.records
    assert instrument(agent="other") is first
    assert "called before" in caplog.text
    assert first.settings.agent == "unknown"


def test_uninstrument_without_instrument_does_nothing():
    uninstrument()
    uninstrument()
    assert current() is None


def test_instrumenting_again_after_uninstrument_takes_the_new_settings():
    instrument(otlp=False)
    uninstrument()
    assert instrument(otlp=False, agent="second").settings.agent == "second"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sinks": [7]}, "can't be called"),
        ({"sinks": print}, "a list of functions"),
        ({"registry": 5}, "no registry"),
        ({"metrics_port": 0, "metrics_host": "no-such-host.invalid"}, "metrics_host"),
        ({"metrics_port": 0, "metrics_host": "192.0.2.1"}, "metrics_host"),
        ({"metrics_port": 0, "metrics_host": "a..b"}, "metrics_host"),
        ({"prices": ["no-such-file.toml"]}, "no-such-file.toml"),
        ({"spans": "perhaps"}, "auto, always, never"),
    ],
)
def test_what_is_wrong_is_said_at_the_start_and_nothing_is_left_on(arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        instrument(otlp=False, **arguments)
    assert current() is None
    instrument(otlp=False)


def test_a_port_that_is_taken_is_one_warning_and_no_reason_to_stop(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        runtime = instrument(otlp=False, metrics_port=port)
        assert runtime.server is None
        assert runtime.status()["errors"] == {}
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert "metrics_port" in caplog.text
    # whoever has it may end first: the old one of a program that is replaced, say
    end = time.monotonic() + 60
    while runtime.server is None and time.monotonic() < end:
        time.sleep(0.05)
    assert runtime.server.port == port


def test_a_second_instrument_says_that_its_providers_have_no_effect(caplog):
    instrument(otlp=False)
    instrument(registry=CollectorRegistry())
    assert "called before" in caplog.text


def test_the_records_of_a_test_leave_the_applications_runtime_running():
    running = instrument(otlp=False, agent="application")
    fixture = llm_records.__wrapped__()
    records = next(fixture)
    assert current() is running
    request = Request("openai", "openai", "openai-api", "chat", "chat.completions", "gpt-4.1")
    running.meter.begin(request).settle(Outcome("ok"))
    assert [record.agent for record in records] == ["application"]
    assert next(fixture, None) is None
    assert current() is running
    running.meter.begin(request).settle(Outcome("ok"))
    assert len(records) == 1
