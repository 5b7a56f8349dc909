"""What is public, and what importing and instrumenting may not do."""

import types

import pytest

import otel_llm_usage
from otel_llm_usage import ConfigurationError, instrument, uninstrument
from otel_llm_usage.runtime import current


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
        "         'pydantic', 'starlette', 'rich', 'click', 'pytest'}\n"
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
        ({"prices": ["no-such-file.toml"]}, "no-such-file.toml"),
        ({"spans": "perhaps"}, "auto, always, never"),
    ],
)
def test_what_is_wrong_is_said_at_the_start_and_nothing_is_left_on(arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        instrument(otlp=False, **arguments)
    assert current() is None
    instrument(otlp=False)


@pytest.mark.faults
def test_a_port_that_is_taken_is_logged_and_no_reason_to_stop(caplog):
    first = instrument(otlp=False, metrics_port=0)
    port = first.server.port
    uninstrument()
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        runtime = instrument(otlp=False, metrics_port=port)
        assert runtime.server is None
        assert runtime.status()["errors"] == {"metrics_port": 1}
    assert "metrics_port" in caplog.text
