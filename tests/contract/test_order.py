"""Before the SDKs, after them, without them, twice, and off again."""

from collections.abc import Callable

import anthropic._base_client
import openai._base_client
import pytest
from google.genai import _api_client

from otel_llm_usage import Record, instrument, uninstrument
from otel_llm_usage.standin import StandIn
from otel_llm_usage.testing import Records

from .kit import ASK, Caller, drive, is_clean

Python = Callable[..., str]

CALLS = """
import warnings
warnings.simplefilter("ignore")

def use_openai():
    import openai
    client = openai.OpenAI()
    client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "x"}])

def use_anthropic():
    import anthropic
    anthropic.Anthropic().messages.create(
        model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "x"}])

def use_google():
    from google import genai
    client = genai.Client()
    client.models.generate_content(model="gemini-2.5-flash", contents="x")

def use_all():
    use_openai()
    use_anthropic()
    use_google()
"""
BEFORE = """
import otel_llm_usage
records = []
otel_llm_usage.instrument(sinks=[records.append], otlp=False)
"""
AFTER = """
import openai, anthropic
from google import genai
"""
SHOW = """
otel_llm_usage.uninstrument()
print(*(record.provider for record in records))
"""


def _environment(standin: StandIn) -> dict[str, str]:
    return {**standin.environment(), "PYTHONWARNINGS": "default"}


ALL = "openai anthropic gcp.gemini"


def test_it_works_before_the_sdks_are_imported(python: Python, llm_standin: StandIn) -> None:
    said = python(CALLS + BEFORE + "use_all()" + SHOW, **_environment(llm_standin))
    assert said.strip() == ALL


def test_it_works_after_the_sdks_are_imported(python: Python, llm_standin: StandIn) -> None:
    said = python(CALLS + AFTER + BEFORE + "use_all()" + SHOW, **_environment(llm_standin))
    assert said.strip() == ALL


def test_it_works_between_two_sdks(python: Python, llm_standin: StandIn) -> None:
    script = CALLS + "use_openai()" + BEFORE + "use_all()" + SHOW
    assert python(script, **_environment(llm_standin)).strip() == ALL


def test_it_imports_no_sdk_and_no_price_table(python: Python) -> None:
    script = (
        BEFORE
        + """
import sys
names = ("openai", "anthropic", "google.genai", "genai_prices", "httpx2", "httpx", "aiohttp")
print([name for name in names if name in sys.modules])
otel_llm_usage.uninstrument()
print([name for name in names if name in sys.modules])
"""
    )
    assert python(script).split() == ["[]", "[]"]


@pytest.mark.parametrize("missing", ["openai", "anthropic", "google.genai"])
def test_an_sdk_that_is_not_there_is_no_hindrance(
    python: Python, llm_standin: StandIn, missing: str
) -> None:
    uses = {"openai": "use_openai", "anthropic": "use_anthropic", "google.genai": "use_google"}
    others = "\n".join(f"{use}()" for sdk, use in uses.items() if sdk != missing)
    hide = f'\nimport sys\nsys.modules["{missing}"] = None\n'
    script = hide + CALLS + BEFORE + others + SHOW
    said = python(script, **_environment(llm_standin)).split()
    assert len(said) == 2


def test_an_import_after_uninstrument_is_left_alone(python: Python, llm_standin: StandIn) -> None:
    script = (
        CALLS
        + BEFORE
        + """
otel_llm_usage.uninstrument()
use_all()
import openai._base_client
print(len(records), hasattr(openai._base_client.SyncAPIClient.request, "__wrapped__"))
"""
    )
    assert python(script, **_environment(llm_standin)).split() == ["0", "False"]


def test_on_off_and_on_again_counts_once(python: Python, llm_standin: StandIn) -> None:
    script = (
        CALLS
        + BEFORE
        + "use_all()\notel_llm_usage.uninstrument()\nuse_all()\n"
        + "otel_llm_usage.instrument(sinks=[records.append], otlp=False)\nuse_all()"
        + SHOW
    )
    assert python(script, **_environment(llm_standin)).strip() == f"{ALL} {ALL}"


def _chat(standin: StandIn) -> None:
    caller = Caller(standin, "sync")
    caller.openai().chat.completions.create(model="gpt-4.1-mini", messages=ASK)
    drive(caller.close(), "sync")


def test_twice_is_once(
    llm_standin: StandIn, llm_records: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    seams = [openai._base_client.SyncAPIClient.__dict__["request"]]
    first = instrument()
    assert instrument() is first
    assert [openai._base_client.SyncAPIClient.__dict__["request"]] == seams
    assert not hasattr(seams[0].__wrapped__, "__wrapped__")
    _chat(llm_standin)
    assert len(llm_records) == 1
    assert caplog.records == []
    instrument(agent="other")
    assert "no effect" in caplog.text


def test_every_seam_is_found_in_these_versions(llm_records: list[Record]) -> None:
    for seam, state in instrument().engine.states.items():
        # what these versions have not, or load at its first use, is `waiting`
        assert state == "patched" or (seam.optional and state == "waiting"), seam.name


def test_off_leaves_every_class_as_it_was(llm_standin: StandIn) -> None:
    assert is_clean()
    records = Records()
    instrument(sinks=[records.append], otlp=False)
    assert not is_clean()
    _chat(llm_standin)
    uninstrument()
    assert is_clean()
    uninstrument()
    assert is_clean()
    _chat(llm_standin)
    assert len(records) == 1


def test_a_wrapper_of_somebody_else_stays_and_ours_below_it_sleeps(
    llm_standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    records = Records()
    instrument(sinks=[records.append], otlp=False)
    kind = openai._base_client.SyncAPIClient
    ours = kind.request
    called: list[str] = []

    def theirs(self, *args, **kwargs):
        called.append("theirs")
        return ours(self, *args, **kwargs)

    kind.request = theirs
    try:
        _chat(llm_standin)
        uninstrument()
        assert kind.request is theirs
        _chat(llm_standin)
    finally:
        kind.request = ours.__wrapped__
    assert called == ["theirs", "theirs"]
    assert len(records) == 1
    assert "another package wrapped it since" in caplog.text
    assert is_clean()


def test_a_stream_that_is_being_read_when_we_go_is_settled(llm_standin: StandIn) -> None:
    records = Records()
    caller = Caller(llm_standin, "sync")
    instrument(sinks=[records.append], otlp=False)
    llm_standin.script(pace=0.01, pieces=10)
    stream = caller.openai().chat.completions.create(
        model="gpt-4.1-mini", messages=ASK, stream=True
    )
    next(stream)
    uninstrument()
    assert [record.status for record in records] == ["aborted"]
    assert len(list(stream)) > 5
    assert len(records) == 1
    drive(caller.close(), "sync")


def test_only_some_sdks(llm_standin: StandIn) -> None:
    instrument(sdks=["anthropic"], otlp=False)
    wrapped = [
        hasattr(place, "__wrapped__")
        for place in (
            anthropic._base_client.SyncAPIClient.request,
            openai._base_client.SyncAPIClient.request,
            _api_client.BaseApiClient.request,
        )
    ]
    assert wrapped == [True, False, False]
