"""Work that goes on: what is remembered of it, for how long, and that it is counted once."""

import asyncio
import json
import threading
from decimal import Decimal
from types import SimpleNamespace

import anthropic
import openai
import pytest
from google import genai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from otel_llm_usage import agent, instrument, uninstrument
from otel_llm_usage.patching import jobs
from otel_llm_usage.patching.observation import begin as begin_call
from otel_llm_usage.patching.observation import observe
from otel_llm_usage.records import Request
from otel_llm_usage.runtime import current
from otel_llm_usage.standin import Answer, StandIn
from otel_llm_usage.testing import Records

ASK = {"model": "gpt-4.1-mini", "input": "hello"}
CONTENT = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}


@pytest.fixture
def client(llm_standin):
    with openai.OpenAI() as sdk:
        yield sdk


def begin(client, **more):
    return client.responses.create(**ASK, background=True, **more).id


def lines(number, model="gpt-4.1-mini"):
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    url = "/v1/chat/completions"
    return [
        {"custom_id": str(i), "method": "POST", "url": url, "body": body} for i in range(number)
    ]


def batch(client, number=2, wanted="", model="gpt-4.1-mini"):
    written = "\n".join(json.dumps(line) for line in lines(number, model)).encode()
    file = client.files.create(file=("lines.jsonl", written), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"standin": wanted},
    )
    return made.id


def reasons(records):
    return [record.cost.reasons for record in records]


# -- held, and given up


def test_a_call_is_open_until_its_end_is_seen(llm_standin, client, llm_records):
    llm_standin.jobs.looks = 1
    with agent("maker"):
        name = begin(client)
    assert llm_records == []
    with agent("looker"):
        client.responses.retrieve(name)
        assert llm_records == []
        client.responses.retrieve(name)
    (record,) = llm_records
    assert (record.agent, record.response_id, record.cost.status) == ("maker", name, "priced")
    assert record.usage.nonzero() == llm_standin.ledger.last.usage
    assert record.cost_usd == llm_standin.ledger.last.usd
    assert record.duration > 0
    client.responses.retrieve(name)
    client.responses.cancel(name)
    assert llm_records == [record]


def test_too_many_make_room_by_giving_up_the_oldest(client, llm_records, monkeypatch):
    monkeypatch.setattr(jobs, "MOST", 2)
    first, second, third = (begin(client) for _ in range(3))
    (given_up,) = llm_records
    assert (given_up.response_id, given_up.cost.reasons) == (first, ("background",))
    assert (given_up.status, given_up.usage, given_up.cost.status) == ("ok", None, "unpriced")
    client.responses.retrieve(first)
    assert len(llm_records) == 1
    for name in (second, third):
        client.responses.retrieve(name)
    assert [record.response_id for record in llm_records] == [first, second, third]
    assert reasons(llm_records) == [("background",), (), ()]


def test_after_two_days_nobody_is_expected_to_ask(client, llm_records, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    old = begin(client)
    clock.now += 47 * 3600
    young = begin(client)
    assert llm_records == []
    clock.now += 2 * 3600
    latest = begin(client)
    assert [(r.response_id, r.cost.reasons) for r in llm_records] == [(old, ("background",))]
    client.responses.retrieve(young)
    client.responses.retrieve(latest)
    assert [r.response_id for r in llm_records] == [old, young, latest]


def test_what_never_ended_is_said_when_we_go(llm_standin, client, caplog):
    records = Records()
    instrument(sinks=[records.append], otlp=False)
    name = begin(client)
    uninstrument()
    (record,) = records
    assert (record.response_id, record.cost.reasons) == (name, ("background",))
    assert "background" in caplog.text
    assert jobs._held == {}


def test_what_never_ended_is_said_at_the_end_of_the_process(llm_standin, python):
    out = python(
        """
import openai
from otel_llm_usage import instrument
instrument(sinks=[lambda r: print(r.response_id, r.cost.reasons)], otlp=False)
made = openai.OpenAI().responses.create(model="gpt-4.1-mini", input="hello", background=True)
print("made", made.id)
""",
        **llm_standin.environment(),
    )
    made, told = out.splitlines()
    assert told == f"{made.removeprefix('made ')} ('background',)"


def test_a_forked_child_forgets_what_its_parent_waits_for(llm_standin, python):
    out = python(
        """
import os, sys, openai
from otel_llm_usage import instrument, uninstrument
where = "parent"
def tell(record):
    print(where, record.response_id, record.cost.status, flush=True)
instrument(sinks=[tell], otlp=False)
client = openai.OpenAI()
ask = dict(model="gpt-4.1-mini", input="hello", background=True)
seen, unseen = (client.responses.create(**ask).id for _ in range(2))
pid = os.fork()
if pid == 0:
    where = "child"
    client = openai.OpenAI()
    client.responses.retrieve(seen)
    own = client.responses.create(**ask).id
    client.responses.retrieve(own)
    uninstrument()
    print("child's own", own, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
client.responses.retrieve(seen)
uninstrument()
print("parent's", seen, unseen)
""",
        **llm_standin.environment(),
    )
    said = [line.split() for line in out.splitlines()]
    (own,) = (line[2] for line in said if line[:2] == ["child's", "own"])
    (seen, unseen) = next(line[1:] for line in said if line[0] == "parent's")
    records = [tuple(line) for line in said if line[0] in ("parent", "child")]
    assert records == [
        ("child", own, "priced"),
        ("parent", seen, "priced"),
        ("parent", unseen, "unpriced"),
    ]


def test_a_span_stays_open_and_is_told_the_bill(llm_standin, client):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llm_standin.jobs.looks = 1
    instrument(tracer_provider=provider, otlp=False)
    name = begin(client)
    client.responses.retrieve(name)
    assert exporter.get_finished_spans() == ()
    client.responses.retrieve(name)
    (span,) = exporter.get_finished_spans()
    used = llm_standin.ledger.last.usage
    assert span.attributes["gen_ai.response.id"] == name
    assert span.attributes["gen_ai.usage.output_tokens"] == used["output"]


def test_a_cut_look_leaves_the_call_held(llm_standin, client, llm_records):
    name = begin(client)
    body = {"id": name, "object": "response", "status": "completed", "usage": {"input_tokens": 1}}
    llm_standin.reply(json.dumps(body), chunks=30, cut_after=1, match=name)
    with pytest.raises(openai.APIConnectionError):
        client.with_options(max_retries=0).responses.retrieve(name)
    assert llm_records == []
    client.responses.retrieve(name)
    assert [record.usage.nonzero() for record in llm_records] == [llm_standin.ledger.last.usage]


def test_an_answer_that_is_no_json_leaves_the_call_held(llm_standin, client, llm_records):
    name = begin(client)
    llm_standin.reply(b"<html>later</html>", match=name)
    client.responses.with_raw_response.retrieve(name)
    assert llm_records == []
    client.responses.retrieve(name)
    assert len(llm_records) == 1


# -- once


def test_threads_that_see_the_end_at_once_count_it_once(client, llm_records):
    for _ in range(5):
        name = begin(client)
        together = threading.Barrier(8)

        def look(name=name, together=together):
            together.wait()
            client.responses.retrieve(name)

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(llm_records) == 5
    assert len({record.response_id for record in llm_records}) == 5


def test_answers_that_are_read_at_once_count_once(client, llm_records):
    """All of them began while the call was held."""
    name = begin(client)
    key = ("openai", name)
    call = jobs._held[key].call
    several = [jobs._End(call, key) for _ in range(8)]
    done = {
        "id": name,
        "status": "completed",
        "model": "gpt-4.1-mini",
        "usage": {"input_tokens": 3},
    }
    together = threading.Barrier(8)

    def end(one):
        one.content(json.dumps(done))
        together.wait()
        one.finish("eof")

    threads = [threading.Thread(target=end, args=(one,)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(llm_records) == 1


async def test_parallel_looks_of_one_loop_count_once(llm_standin, llm_records):
    async with openai.AsyncOpenAI() as client:
        made = await client.responses.create(**ASK, background=True)
        await asyncio.gather(*(client.responses.retrieve(made.id) for _ in range(10)))
    assert len(llm_records) == 1


def test_threads_that_see_a_batch_end_at_once_count_it_once(client, llm_records):
    name = batch(client)
    together = threading.Barrier(8)

    def look():
        together.wait()
        client.batches.retrieve(name)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record.response_id for record in llm_records] == [name]


def test_results_that_are_read_at_once_count_each_line_once(llm_standin, llm_records):
    asked = [
        {
            "custom_id": str(i),
            "params": {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": []},
        }
        for i in range(300)
    ]
    with anthropic.Anthropic() as client:
        made = client.messages.batches.create(requests=asked)
        client.messages.batches.retrieve(made.id)
        together = threading.Barrier(4)

        def read():
            together.wait()
            assert len(list(client.messages.batches.results(made.id))) == 300

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(llm_records) == 300
    assert len({record.id for record in llm_records}) == 300


def test_two_processes_give_one_piece_of_work_one_id(llm_standin, client):
    told = []
    for _ in range(2):  # to begin anew forgets what was counted, as another process would not know
        records = Records()
        instrument(sinks=[records.append], otlp=False)
        if not told:
            name = batch(client)
            listed = batch(client, wanted="nousage")
        client.batches.retrieve(name)
        file = client.batches.retrieve(listed).output_file_id
        client.files.content(file)
        told.append([record.id for record in records])
        uninstrument()
    assert told[0] == told[1]
    assert len(set(told[0])) == 3
    assert all(len(one) == 32 and int(one, 16) for one in told[0])


# -- what tells nothing costs nothing


def test_what_tells_nothing_leaves_nothing_behind(llm_standin, client):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    registry = CollectorRegistry()
    records = Records()
    elsewhere = begin(client)  # before we were there
    llm_standin.jobs.looks = 1000
    name = batch(client)
    instrument(sinks=[records.append], registry=registry, tracer_provider=provider, otlp=False)
    client.responses.retrieve(elsewhere)
    client.responses.cancel(elsewhere)
    list(client.responses.retrieve(elsewhere, stream=True))
    for _ in range(3):
        client.batches.retrieve(name)
    client.models.list()
    assert records == []
    assert exporter.get_finished_spans() == ()
    shown = generate_latest(registry).decode()
    assert "gpt-4.1" not in shown
    assert 'agent="' not in shown


def test_records_of_batches_leave_no_series_but_their_own(llm_standin):
    registry = CollectorRegistry()
    runtime = instrument(registry=registry, otlp=False)
    ask = {"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": []}
    with anthropic.Anthropic() as claude, agent("maker"):
        made = claude.messages.batches.create(requests=[{"custom_id": "a", "params": ask}])
        list(claude.messages.batches.results(made.id))
    runtime.flush()
    shown = generate_latest(registry).decode()
    counted = [line for line in shown.splitlines() if line.startswith("llm_requests_total{")]
    assert counted
    assert all('agent="maker"' in line and "claude-sonnet-4-5" in line for line in counted)
    assert 'model="unknown"' not in shown


def test_who_only_collects_has_told_it_all_when_the_process_ends(llm_standin, client, python):
    listed = batch(client, 300, "nousage")
    out = python(
        f"""
import openai
from otel_llm_usage import instrument
instrument(sinks=[lambda record: print(record.id)], otlp=False)
client = openai.OpenAI()
client.files.content(client.batches.retrieve("{listed}").output_file_id)
""",
        **llm_standin.environment(),
    )
    assert len(set(out.splitlines())) == 300


# -- for other seams


def test_a_seam_of_its_own_follows_interactions(llm_records):
    meter = current().meter
    asked = Request("gcp.gemini", "google", "gemini-api", "generate_content", "interactions")
    with agent("maker"):
        observation = observe(begin_call(meter, asked), "estimate", None)
    made = {"id": "int_1", "status": "in_progress", "model": "gemini-2.5-pro"}
    observation.content(json.dumps(made).encode())
    assert llm_records == []
    look = ("google", "GET", "https://generativelanguage.googleapis.com/v1beta/interactions/int_1")
    usage = {"total_input_tokens": 5, "total_output_tokens": 6, "total_tokens": 11}
    for status in ("in_progress", "completed", "completed"):
        following = jobs.follow(meter, *look, base_url="https://generativelanguage.googleapis.com")
        if following is not None:
            following.content(json.dumps({**made, "status": status, "usage": usage}))
            following.finish("eof")
    (record,) = llm_records
    assert (record.agent, record.response_id) == ("maker", "int_1")
    assert record.usage.nonzero() == {"input": 5, "output": 6}


# -- batches


def test_a_batch_costs_half(llm_standin, client, llm_records):
    batch(client)
    whole = batch(client, 3)
    listed = batch(client, 2, "nousage", "gpt-4.1")
    client.batches.retrieve(whole)
    client.files.content(client.batches.retrieve(listed).output_file_id)
    with anthropic.Anthropic() as claude:
        ask = {"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": []}
        made = claude.messages.batches.create(requests=[{"custom_id": "a", "params": ask}])
        list(claude.messages.batches.results(made.id))
    google = genai.Client()
    inlined = google.batches.create(model="gemini-2.5-flash", src=[CONTENT])
    google.batches.get(name=inlined.name)
    google.close()
    rates = {  # US dollars per million tokens, in and out
        "gpt-4.1-mini-2025-04-14": ("0.20", "0.80"),
        "gpt-4.1-2025-04-14": ("1", "4"),
        "claude-sonnet-4-5-20250929": ("1.5", "7.5"),
        "gemini-2.5-flash": ("0.15", "1.25"),
    }
    assert len(llm_records) == 5
    assert {record.model for record in llm_records} == rates.keys()
    for record in llm_records:
        into, out = (Decimal(rate) for rate in rates[record.model])
        used = record.usage
        worked = (used.input * into + (used.output + (used.reasoning or 0)) * out) / 10**6
        assert (record.tier, record.cost_usd) == ("batch", worked), record.model
    assert sum(record.cost_usd for record in llm_records) == llm_standin.ledger.usd()


def test_a_batch_is_its_makers_and_one_made_elsewhere_its_readers(llm_standin, client):
    elsewhere = batch(client)
    records = Records()
    instrument(sinks=[records.append], otlp=False)
    with agent("maker"):
        ours = batch(client)
    with agent("reader"):
        client.batches.retrieve(ours)
        client.batches.retrieve(elsewhere)
    assert {record.response_id: record.agent for record in records} == {
        ours: "maker",
        elsewhere: "reader",
    }


def test_the_time_of_a_batch_is_when_it_was_asked_for(llm_standin, client, llm_records):
    made = client.batches.retrieve(batch(client))
    assert [record.time for record in llm_records] == [made.created_at]
    assert [record.duration for record in llm_records] == [None]


def test_many_lines_are_counted_to_the_last(llm_standin, client, llm_records):
    name = batch(client, 1500, "nousage")
    file = client.batches.retrieve(name).output_file_id
    client.files.content(file)
    client.files.content(file)
    assert len(llm_records) == 1500
    assert sum(record.cost_usd for record in llm_records) == llm_standin.ledger.usd()


def test_a_batch_opens_no_span_and_stands_in_the_trace_that_made_it(llm_standin, client):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    records = Records()
    instrument(sinks=[records.append], tracer_provider=provider, otlp=False)
    with provider.get_tracer("application").start_as_current_span("makes it") as outer:
        name = batch(client)
    client.batches.retrieve(name)
    (record,) = records
    where = outer.get_span_context()
    assert record.trace_id == f"{where.trace_id:032x}"
    assert record.span_id == f"{where.span_id:016x}"
    assert [span.name for span in exporter.get_finished_spans()] == ["makes it"]


def test_what_is_still_to_be_read_when_we_go_is_counted_and_forgotten(llm_standin, client):
    told = []
    name = batch(client, 1000, "nousage")
    for _ in range(2):
        records = Records()
        instrument(sinks=[records.append], otlp=False)
        client.files.content(client.batches.retrieve(name).output_file_id)
        uninstrument()
        told.append(len(records))
    assert told == [1000, 1000]
    assert jobs._counted == {}


def test_a_part_of_a_file_counts_its_whole_lines_and_the_rest_later(
    llm_standin, client, llm_records
):
    name = batch(client, 4, "nousage")
    file = client.batches.retrieve(name).output_file_id
    whole = llm_standin.jobs._files[file]
    cut = whole.index(b"\n", len(whole) // 3) + 40
    headers = {"content-type": "application/octet-stream"}
    llm_standin.reply(whole[:cut], status=206, headers=headers, match="/content")
    client.files.content(file)
    part = len(llm_records)
    assert 0 < part < 4
    client.files.content(file)
    assert len(llm_records) == 4
    assert all(record.notes == () for record in llm_records)


def test_lines_that_cannot_be_read_are_said_once(llm_standin, client, llm_records):
    name = batch(client, 2, "nousage")
    file = client.batches.retrieve(name).output_file_id
    llm_standin.jobs._files[file] += b"\n{broken\n[1]\n"
    for _ in range(2):
        client.files.content(file)
    assert len(llm_records) == 3
    bad = llm_records[-1]
    assert (bad.usage, bad.usage_source, bad.notes) == (None, "bad", ("bad_lines:2",))
    assert bad.cost.reasons == ("bad_usage",)


def test_a_batch_whose_lines_nobody_read_is_said_when_we_go(llm_standin, client):
    records = Records()
    instrument(sinks=[records.append], otlp=False)
    name = batch(client, 2, "nousage")
    client.batches.retrieve(name)
    assert records == []
    uninstrument()
    (record,) = records
    assert (record.response_id, record.cost.status) == (name, "unpriced")
    assert record.cost.reasons == ("no_usage",)


def test_a_batch_of_which_nothing_succeeded_costs_nothing_and_is_no_record(
    llm_standin, client, llm_records
):
    name = batch(client, 2, "", "gpt-4.1-mini-429")
    client.batches.retrieve(name)
    with anthropic.Anthropic() as claude:
        ask = {"model": "claude-sonnet-4-5-429", "max_tokens": 99, "messages": []}
        made = claude.messages.batches.create(requests=[{"custom_id": "a", "params": ask}])
        claude.messages.batches.retrieve(made.id)
        list(claude.messages.batches.results(made.id))
    assert llm_records == []


def test_batches_that_nobody_asks_for_any_more_are_forgotten(client, llm_records, monkeypatch):
    monkeypatch.setattr(jobs, "MOST", 2)
    for _ in range(4):
        client.batches.retrieve(batch(client, 1, "nousage"))
    assert len(jobs._payers) <= 2
    assert len(jobs._results) <= 2
    assert reasons(llm_records) == [("no_usage",)] * 2


def test_what_was_counted_is_remembered_within_bounds(client, llm_records, monkeypatch):
    monkeypatch.setattr(jobs, "MOST_COUNTED", 3)
    for _ in range(6):
        client.batches.retrieve(batch(client, 1))
    assert len(llm_records) == 6
    assert len(jobs._counted) <= 3


def test_a_refused_look_is_not_the_end(llm_standin, client, llm_records):
    name = batch(client)
    llm_standin.script(Answer(status=404), match=name)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve(name)
    client.batches.retrieve(name)
    assert len(llm_records) == 1


def test_each_providers_ids_are_its_own():
    with StandIn() as one:
        records = Records()
        instrument(sinks=[records.append], otlp=False, hosts={"127.0.0.1": "groq"})
        with openai.OpenAI(base_url=f"{one.url}/v1", api_key="key") as client:
            name = begin(client)
            assert ("groq", name) in jobs._held
            client.responses.retrieve(name)
        assert [record.provider for record in records] == ["groq"]
