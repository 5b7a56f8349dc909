"""Which later answers tell the end of earlier work, and what they say of its bill."""

import json

import pytest

from otel_llm_usage import providers
from otel_llm_usage.providers import jobs
from otel_llm_usage.records import Request, Usage

OPENAI = "https://api.openai.com/v1/"
AZURE = "https://res.openai.azure.com/openai/"
CLAUDE = "https://api.anthropic.com"
GEMINI = "https://generativelanguage.googleapis.com/"
VERTEX = "https://us-central1-aiplatform.googleapis.com/"
HOME = {"openai": OPENAI, "anthropic": CLAUDE, "google": GEMINI}


def follow(sdk, method, url, base_url=None):
    return jobs.follow(sdk, method, url, base_url=base_url or HOME[sdk])


@pytest.mark.parametrize(
    ("sdk", "method", "url", "kind", "name"),
    [
        ("openai", "get", "/responses/resp_1", "held", "resp_1"),
        ("openai", "GET", "/responses/resp_1?stream=true&starting_after=3", "held", "resp_1"),
        ("openai", "post", "/responses/resp_1/cancel", "held", "resp_1"),
        ("openai", "get", "/threads/t/runs/run_1", "held", "run_1"),
        ("openai", "post", "/threads/t/runs/run_1", "held", "run_1"),
        ("openai", "post", "/threads/t/runs/run_1/cancel", "held", "run_1"),
        ("openai", "post", "/threads/t/runs/run_1/submit_tool_outputs", "held", "run_1"),
        ("openai", "post", "/batches", "openai_batch", ""),
        ("openai", "get", "/batches/batch_1", "openai_batch", "batch_1"),
        ("openai", "post", "/batches/batch_1/cancel", "openai_batch", "batch_1"),
        ("openai", "get", "/files/file-1/content", "output", "file-1"),
        ("openai", "post", "/agents/sessions", "openai_session", ""),
        ("openai", "get", "/agents/sessions/s", "openai_session", "s"),
        ("openai", "get", "/agents/sessions/s/events", "openai_turns", "s"),
        ("openai", "get", "/agents/sessions/s/turns", "openai_turns", "s"),
        ("openai", "get", "/agents/sessions/s/turns/t", "openai_turns", "s"),
        ("openai", "get", "/agents/sessions/s/subagents/a/turns/t", "openai_turns", "s"),
        ("anthropic", "post", "/v1/messages/batches", "anthropic_batch", ""),
        ("anthropic", "get", "/v1/messages/batches/b?beta=true", "anthropic_batch", "b"),
        ("anthropic", "get", f"{CLAUDE}/v1/messages/batches/b/results", "lines", "b"),
        ("anthropic", "post", "/v1/sessions?beta=true", "anthropic_session", ""),
        ("anthropic", "get", "/v1/sessions/s/events?beta=true", "anthropic_events", "s"),
        ("anthropic", "get", "/v1/sessions/s/events/stream", "anthropic_events", "s"),
        ("anthropic", "get", "/v1/sessions/s/threads/t/stream", "anthropic_events", "t"),
        ("anthropic", "get", "/v1/sessions/s/threads/t", "anthropic_session", "t"),
        ("google", "get", "interactions/int_1", "held", "int_1"),
        ("google", "post", "models/m:batchGenerateContent", "gemini_batch", ""),
        ("google", "get", "batches/b1", "gemini_batch", "batches/b1"),
        ("google", "get", "files/f1:download?alt=media", "output", "files/f1"),
        ("google", "post", "batchPredictionJobs", "vertex_batch", ""),
        ("google", "get", "projects/p/locations/l/batchPredictionJobs/7", "vertex_batch", "7"),
    ],
)
def test_what_is_followed(sdk, method, url, kind, name):
    job = follow(sdk, method, url)
    assert (job.kind, job.id) == (kind, name)
    assert job.makes == (name == "")


@pytest.mark.parametrize(
    ("sdk", "method", "url"),
    [
        ("openai", "post", "/responses"),
        ("openai", "post", "/responses/compact"),
        ("openai", "post", "/responses/input_tokens"),
        ("openai", "get", "/responses/resp_1/input_items"),
        ("openai", "delete", "/responses/resp_1"),
        ("openai", "get", "/threads/t"),
        ("openai", "get", "/threads/t/runs"),
        ("openai", "get", "/threads/t/runs/run_1/steps"),
        ("openai", "get", "/batches"),
        ("openai", "get", "/files/file-1"),
        ("openai", "post", "/files"),
        ("openai", "get", "/models"),
        ("openai", "get", "/videos/video_1"),
        ("anthropic", "post", "/v1/messages"),
        ("anthropic", "get", "/v1/messages/batches"),
        ("anthropic", "delete", "/v1/messages/batches/b"),
        ("anthropic", "post", "/v1/sessions/s/events"),
        ("anthropic", "get", "/v1/sessions"),
        ("google", "post", "models/m:generateContent"),
        ("google", "get", "batches"),
        ("google", "get", "models/m/operations/o"),
        ("google", "get", "files/f1"),
        ("other", "get", "/responses/resp_1"),
    ],
)
def test_what_is_not(sdk, method, url):
    assert jobs.follow(sdk, method, url, base_url=OPENAI) is None


def test_a_job_is_at_the_host_that_its_url_says():
    azure = follow("openai", "GET", "/batches/b", AZURE)
    assert (azure.request.provider, azure.request.platform) == ("azure.ai.openai", "azure")
    vertex = follow("google", "GET", "projects/p/locations/l/batchPredictionJobs/7", VERTEX)
    assert vertex.request.provider == "gcp.vertex_ai"
    named = jobs.follow(
        "openai", "GET", "/batches/b", base_url="http://llm.corp/v1", hosts={"llm.corp": "groq"}
    )
    assert named.request.provider == "groq"


# -- what begins work


def begun(sdk, url, body, base_url=None):
    return jobs.begun(sdk, "POST", url, body, base_url=base_url or HOME[sdk])


@pytest.mark.parametrize(
    ("sdk", "url", "body", "endpoint", "model", "hints"),
    [
        ("openai", "/threads/runs", {"model": "gpt-4.1"}, "threads.runs", "gpt-4.1", {}),
        ("openai", "/threads/t/runs", {"stream": True}, "threads.runs", None, {}),
        ("openai", "/videos", {"model": "sora-2", "seconds": "8"}, "videos", "sora-2", {"seconds": 8}),
        ("openai", "/videos/v/remix", {}, "videos", None, {}),
        (
            "google",
            "models/veo-3:predictLongRunning",
            {"parameters": {"durationSeconds": 6, "sampleCount": 2}},
            "generate_videos",
            "veo-3",
            {"seconds": 12},
        ),
        ("google", "models/veo-3:predictLongRunning", {}, "generate_videos", "veo-3", {}),
    ],
)  # fmt: skip
def test_what_begins_work(sdk, url, body, endpoint, model, hints):
    request = begun(sdk, url, body)
    assert (request.endpoint, request.model, dict(request.hints)) == (endpoint, model, hints)
    assert request.stream == (body.get("stream") is True)


@pytest.mark.parametrize(
    "url", ["/threads", "/threads/t/messages", "/batches", "/videos/v/content"]
)
def test_what_begins_none(url):
    assert begun("openai", url, {}) is None
    assert jobs.begun("openai", "GET", "/videos", None, base_url=OPENAI) is None


def read_run(**fields):
    reader = providers.reader(begun("openai", "/threads/runs", {"model": "gpt-4.1"}))
    reader.body(json.dumps({"id": "run_1", "model": "gpt-4.1", **fields}))
    return reader


USED = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling"])
def test_a_run_that_goes_on_is_not_billed_yet(status):
    reader = read_run(status=status, usage=None)
    assert (reader.pending, reader.billed, reader.response_id) == (True, False, "run_1")


@pytest.mark.parametrize("status", ["completed", "cancelled", "incomplete", "expired"])
def test_a_run_that_has_ended_is_billed(status):
    reader = read_run(status=status, usage=USED)
    (reading,) = reader.readings()
    assert not reader.pending
    assert reading.usage.nonzero() == {"input": 7, "output": 5}


def test_a_run_that_failed_is_billed_for_what_it_used():
    error = {"code": "rate_limit_exceeded", "message": "No."}
    used, unused = (
        read_run(status="failed", last_error=error, usage=usage) for usage in (USED, None)
    )
    assert (used.failed, used.billed) == ("rate_limit_exceeded", True)
    assert (unused.failed, unused.billed) == ("rate_limit_exceeded", False)


def test_the_fees_of_a_runs_tools_are_said_to_be_unknown():
    tools = [{"type": "file_search"}, {"type": "function"}, {"type": "file_search"}]
    (reading,) = read_run(status="completed", usage=USED, tools=tools).readings()
    assert reading.notes == ("fees_unknown:file_search",)


def test_the_events_of_a_run_that_are_not_its_own_say_nothing():
    reader = providers.reader(begun("openai", "/threads/runs", {"stream": True}))
    step = {"id": "step_1", "status": "completed", "usage": USED}
    reader.event(json.dumps(step), "thread.run.step.completed")
    assert reader.readings() == ()
    reader.event(json.dumps({"id": "run_1", "status": "in_progress"}), "thread.run.in_progress")
    assert (reader.pending, reader.complete) == (True, False)
    ended = {"id": "run_1", "status": "completed", "usage": USED}
    reader.event(json.dumps(ended), "thread.run.completed")
    assert (reader.pending, reader.complete) == (False, True)


def read_video(answer, **hints):
    reader = providers.reader(
        Request("openai", "openai", "openai-api", "generate_content", "videos", hints=hints)
    )
    reader.body(json.dumps(answer))
    return reader


def test_a_video_has_the_seconds_that_anybody_tells():
    assert read_video({"id": "v"}, seconds=8).units == {"video_seconds": 8}
    assert read_video({"id": "v", "seconds": "4"}).units == {"video_seconds": 4}
    unknown = read_video({"id": "v"})
    assert (unknown.units, unknown.usage, unknown.billed) == ({}, None, True)
    assert read_video({"id": "v", "status": "failed"}).billed is False


# -- batches


def told(sdk, method, url, answer, base_url=None):
    (one,) = jobs.read(follow(sdk, method, url, base_url), json.dumps(answer))
    return one


BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "model": "gpt-4.1-mini",
    "created_at": 1_795_000_000,
}
BATCH_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 30},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}


def openai_batch(**fields):
    return told("openai", "GET", "/batches/batch_1", {**BATCH, **fields})


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", None])
def test_a_batch_that_goes_on_tells_nothing(status):
    one = openai_batch(status=status)
    assert (one.id, one.ended, one.bills, one.output) == ("batch_1", False, (), None)


@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
def test_a_batch_that_tells_its_usage_is_one_bill(status):
    one = openai_batch(status=status, usage=BATCH_USAGE, output_file_id="file-1")
    (bill,) = one.bills
    (reading,) = bill.readings
    assert one.output is None
    assert (bill.id, bill.created) == ("batch_1", 1_795_000_000)
    assert (bill.request.endpoint, bill.request.model) == ("chat.completions", "gpt-4.1-mini")
    assert (reading.tier, reading.model, reading.entry) == ("batch", "gpt-4.1-mini", "batch")
    assert reading.usage.nonzero() == {
        "input": 70,
        "cache_read": 30,
        "output": 30,
        "reasoning": 20,
    }


def test_a_batch_without_usage_or_without_a_model_is_told_by_its_lines():
    silent = openai_batch(status="completed", usage=None, output_file_id="file-1")
    nameless = openai_batch(status="completed", usage=BATCH_USAGE, model=None, output_file_id="f")
    assert (silent.output, silent.request.endpoint) == ("file-1", "chat.completions")
    assert silent.bills[0].readings[0].usage is None
    assert nameless.output == "f"
    assert nameless.bills[0].readings[0].usage.total_tokens == 150


def test_a_batch_that_answered_nothing_or_is_free_has_no_bill():
    zero = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 0)
    for one in (
        openai_batch(status="failed"),
        openai_batch(status="completed", usage=zero),
        openai_batch(status="completed", endpoint="/v1/moderations", output_file_id="file-1"),
    ):
        assert (one.ended, one.bills, one.output) == (True, (), None)


def test_a_usage_that_cannot_be_read_is_marked():
    one = openai_batch(status="completed", usage="much", output_file_id="file-1")
    assert one.bills[0].readings[0].notes == ("bad_usage:usage",)


def test_a_batch_of_embeddings_has_no_output_side():
    usage = {"input_tokens": 9, "output_tokens": None, "total_tokens": 9}
    one = openai_batch(status="completed", endpoint="/v1/embeddings", usage=usage)
    assert (one.bills[0].request.operation, one.bills[0].request.endpoint) == ("embeddings",) * 2
    assert one.bills[0].readings[0].usage == Usage(input=9, output=0)


def messages_batch(**fields):
    answer = {"id": "b", "created_at": "2026-11-24T09:00:00Z", **fields}
    return told("anthropic", "GET", "/v1/messages/batches/b", answer)


def test_a_batch_of_messages_is_told_by_its_results():
    assert messages_batch(processing_status="in_progress").ended is False
    ended = messages_batch(processing_status="ended", request_counts={"succeeded": 2})
    assert (ended.ended, ended.output, ended.request.endpoint) == (True, "b", "messages")
    assert ended.created == 1795510800.0
    empty = messages_batch(processing_status="ended", request_counts={"succeeded": 0})
    assert (empty.ended, empty.output, empty.bills) == (True, None, ())


META = {"promptTokenCount": 10, "candidatesTokenCount": 4, "totalTokenCount": 14}
ANSWER = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": META, "responseId": "r"}


def gemini_batch(state="BATCH_STATE_SUCCEEDED", place="metadata", **output):
    about = {
        "state": state,
        "model": "models/gemini-2.5-flash",
        "createTime": "2026-11-24T09:00:00.5Z",
    }
    answer = {"name": "batches/b", "metadata": about}
    if place == "metadata":
        about["output"] = output
    else:
        answer["response"] = output
    return told("google", "GET", "batches/b", answer)


@pytest.mark.parametrize("place", ["metadata", "response"])
@pytest.mark.parametrize("state", ["BATCH_STATE_SUCCEEDED", "JOB_STATE_SUCCEEDED"])
def test_answers_inside_a_batch_are_a_bill_each(state, place):
    inside = [{"response": ANSWER}, {"error": {"code": 3}}, {"response": ANSWER}]
    one = gemini_batch(state, place, inlinedResponses={"inlinedResponses": inside})
    assert [bill.id for bill in one.bills] == ["batches/b/0", "batches/b/2"]
    assert one.created == 1795510800.5
    for bill in one.bills:
        assert bill.readings[0].usage.nonzero() == {"input": 10, "output": 4}
        assert (bill.readings[0].tier, bill.readings[0].model) == ("batch", "gemini-2.5-flash")


def test_vectors_inside_a_batch_have_their_tokens():
    inside = [
        {"response": {"embedding": {"values": [0.5]}, "tokenCount": "12"}},
        {"response": {"embedding": {}, "usageMetadata": {"promptTokenCount": 7}}},
        {"response": {"embedding": {}}},
    ]
    one = gemini_batch(inlinedEmbedContentResponses={"inlinedResponses": inside})
    usages = [bill.readings[0].usage for bill in one.bills]
    assert usages == [Usage(input=12, output=0), Usage(input=7, output=0), None]
    assert {bill.request.endpoint for bill in one.bills} == {"embed_content"}


def test_a_batch_of_gemini_may_be_told_by_a_file_or_not_at_all():
    one = gemini_batch(responsesFile="files/out")
    assert (one.output, one.request.model) == ("files/out", "gemini-2.5-flash")
    (unknown,) = gemini_batch().bills
    assert (unknown.readings[0].usage, unknown.reason) == (None, "no_usage")
    for state in ("FAILED", "CANCELLED", "EXPIRED"):
        gone = gemini_batch(f"JOB_STATE_{state}")
        assert (gone.ended, gone.bills) == (True, ())
    assert gemini_batch("BATCH_STATE_RUNNING").ended is False


def vertex_batch(**fields):
    name = "projects/p/locations/l/batchPredictionJobs/7"
    model = "publishers/google/models/gemini-2.5-pro"
    return told("google", "GET", name, {"name": name, "model": model, **fields}, VERTEX)


def test_a_batch_of_vertex_says_that_its_answers_are_elsewhere():
    one = vertex_batch(state="JOB_STATE_SUCCEEDED")
    (bill,) = one.bills
    assert (bill.reason, bill.request.model) == ("output_elsewhere", "gemini-2.5-pro")
    part = vertex_batch(state="JOB_STATE_CANCELLED", completionStats={"successfulCount": "3"})
    assert len(part.bills) == 1
    for nothing in (
        vertex_batch(state="JOB_STATE_FAILED"),
        vertex_batch(state="JOB_STATE_SUCCEEDED", completionStats={"successfulCount": "0"}),
    ):
        assert (nothing.ended, nothing.bills) == (True, ())
    assert vertex_batch(state="JOB_STATE_RUNNING").ended is False


# -- lines


def request(endpoint="chat.completions", vendor="openai"):
    return Request(vendor, vendor, vendor, "chat", endpoint, tier="batch")


def openai_line(body, status=200, **more):
    response = {"status_code": status, "request_id": "r", "body": body}
    return json.dumps({"id": "req_1", "custom_id": "c", "response": response, **more}).encode()


CHAT = {"id": "chatcmpl-1", "model": "gpt-4.1-mini", "choices": [], "usage": USED, "service_tier": "default"}  # fmt: skip


@pytest.mark.parametrize(
    ("endpoint", "body", "used"),
    [
        ("chat.completions", CHAT, {"input": 7, "output": 5}),
        (
            "responses",
            {"id": "resp_1", "model": "gpt-5", "status": "completed", "usage": BATCH_USAGE},
            {"input": 70, "cache_read": 30, "output": 30, "reasoning": 20},
        ),
        (
            "embeddings",
            {"model": "text-embedding-3-small", "usage": {"prompt_tokens": 9, "total_tokens": 9}},
            {"input": 9},
        ),
        (
            "embeddings",
            {
                "data": [{"embedding": [0.25] * 2000}],
                "model": "text-embedding-3-small",
                "usage": {"prompt_tokens": 9, "total_tokens": 9},
            },
            {"input": 9},
        ),
    ],
    ids=["chat", "responses", "a short vector", "a long vector"],
)
def test_a_line_is_read_as_the_answer_that_it_holds(endpoint, body, used):
    line = jobs.line(request(endpoint), "batch_1", openai_line(body), 0)
    (reading,) = line.bill.readings
    assert line.bill.id == "batch_1/req_1"
    assert (reading.usage.nonzero(), reading.tier) == (used, "batch")
    assert reading.model == body["model"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  \r",
        openai_line({"error": {"code": "x"}}, 400),
        openai_line({}, response=None, error={"code": "batch_expired"}),
        openai_line(CHAT, error={"code": "x"}),
        b'{"custom_id": "c", "result": {"type": "errored", "error": {}}}',
        b'{"custom_id": "c", "result": {"type": "expired"}}',
        b'{"key": "k", "error": {"code": 3}}',
    ],
)
def test_a_line_without_an_answer_has_no_bill(raw):
    assert jobs.line(request(), "b", raw, 0) == (True, None)


@pytest.mark.parametrize("raw", [b"{", b"[1]", b"x" * 5000, b"\xff\xfe"])
def test_a_line_that_cannot_be_read_is_one(raw):
    assert jobs.line(request(), "b", raw, 0) == (False, None)
    if len(raw) > 4096:
        assert jobs.line(request("embeddings"), "b", raw, 0) == (False, None)


def test_a_long_vector_line_of_an_error_has_no_bill():
    raw = openai_line({"error": {"message": "x" * 5000}}, 429)
    assert jobs.line(request("embeddings"), "b", raw, 0) == (True, None)


def test_a_line_without_usage_says_so():
    line = jobs.line(request(), "b", openai_line({**CHAT, "usage": None}), 0)
    assert line.bill.readings[0].usage is None
    assert line.bill.reason == "no_usage"


def test_a_line_of_messages_may_be_several_readings():
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "iterations": [
            {"type": "message", "input_tokens": 10, "output_tokens": 5},
            {"type": "advisor_message", "model": "claude-opus-4-5", "input_tokens": 3, "output_tokens": 2},
        ],
    }  # fmt: skip
    message = {"id": "msg_1", "model": "claude-haiku-4-5", "content": [{}], "usage": usage}
    raw = json.dumps({"custom_id": "c", "result": {"type": "succeeded", "message": message}})
    line = jobs.line(request("messages", "anthropic"), "b", raw.encode(), 0)
    assert [(one.model, one.tier, one.entry) for one in line.bill.readings] == [
        ("claude-haiku-4-5", "batch", "message"),
        ("claude-opus-4-5", "batch", "advisor_message"),
    ]


def test_a_line_of_gemini_has_its_key_or_its_place():
    asked = request("generate_content", "google")
    keyed = json.dumps({"key": "k", "response": ANSWER}).encode()
    nameless = json.dumps({"response": ANSWER}).encode()
    assert jobs.line(asked, "batches/b", keyed, 4).bill.id == "batches/b/k"
    assert jobs.line(asked, "batches/b", nameless, 4).bill.id == "batches/b/4"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_cut_whatever_the_chunks_are(size):
    data = b"one\ntwo\r\n\nthree\nfour"
    splitter = jobs.LineSplitter()
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    lines = [line for chunk in cut for line in splitter.feed(chunk)]
    assert (lines, splitter.rest(), splitter.rest()) == (
        [b"one", b"two\r", b"", b"three"],
        b"four",
        b"",
    )


def test_a_line_without_end_is_not_held():
    splitter = jobs.LineSplitter(most=10)
    for _ in range(1000):
        assert splitter.feed(b"x" * 8) == []
        assert sum(map(len, splitter._held)) <= 16
    (line, good) = splitter.feed(b"\ngood\n")
    assert jobs.line(request(), "b", line, 0).readable is False
    assert good == b"good"


# -- agents


def test_a_model_request_of_a_managed_agent_is_a_bill_and_its_sums_are_none():
    usage = {
        "input_tokens": 5,
        "output_tokens": 6,
        "cache_read_input_tokens": 7,
        "cache_creation_input_tokens": 8,
        "speed": "fast",
    }
    events = [
        {"id": "e0", "type": "span.model_request_start"},
        {"id": "e1", "type": "span.model_request_end", "model_usage": usage},
        {"id": "e2", "type": "span.model_request_end", "model_usage": None},
        {"id": "e3", "type": "span.model_request_end", "is_error": True, "model_usage": {"input_tokens": 0}},
        {"type": "span.model_request_end", "model_usage": usage},
        {"id": "e5", "type": "session.status_idle", "usage": usage},
    ]  # fmt: skip
    one = told("anthropic", "GET", "/v1/sessions/s/events", {"data": events})
    assert [bill.id for bill in one.bills] == ["e1", "e2"]
    (reading,) = one.bills[0].readings
    assert reading.usage.nonzero() == {"input": 5, "cache_read": 7, "cache_write": 8, "output": 6}
    assert reading.tier == "fast"
    assert one.bills[1].readings[0].usage is None


def test_a_session_tells_its_model_and_its_usage_is_not_counted():
    session = {
        "id": "s",
        "agent": {"model": {"id": "claude-opus-4-5"}},
        "usage": {"input_tokens": 9},
    }
    one = told("anthropic", "POST", "/v1/sessions", session)
    assert (one.id, one.model, one.bills) == ("s", "claude-opus-4-5", ())
    threads = {"data": [{"id": "t1", "agent": {"model": "m1"}}, {"id": "t2", "agent": {}}]}
    job = follow("anthropic", "GET", "/v1/sessions/s/threads")
    pages = jobs.read(job, json.dumps(threads))
    assert [(one.id, one.model) for one in pages] == [("t1", "m1"), ("t2", None)]


TURN = {"id": "turn_1", "object": "agent.session.turn", "status": "completed", "usage": BATCH_USAGE}


def test_a_turn_is_a_bill_once_it_has_ended_and_tells_its_usage():
    turns = [
        TURN,
        {**TURN, "id": "turn_2", "status": "in_progress"},
        {**TURN, "id": "turn_3", "usage": None},
        {**TURN, "id": "turn_4", "status": "cancelled", "subagent_id": "a"},
    ]
    one = told("openai", "GET", "/agents/sessions/s/turns", {"data": turns})
    assert [bill.id for bill in one.bills] == ["turn_1", "turn_4"]
    assert all(bill.readings[0].notes == ("best_effort",) for bill in one.bills)
    single = told("openai", "GET", "/agents/sessions/s/turns/turn_1", TURN)
    assert [bill.id for bill in single.bills] == ["turn_1"]


def test_the_stream_that_begins_a_session_tells_its_model_and_its_turns():
    begin = {"type": "agent.session.created", "session": {"id": "s", "agent": {"model": "m"}}}
    ended = {"type": "agent.session.turn.completed", "turn": TURN, "usage": None}
    assert told("openai", "POST", "/agents/sessions", begin).model == "m"
    (bill,) = told("openai", "POST", "/agents/sessions", ended).bills
    assert bill.readings[0].usage.total_tokens == 150


@pytest.mark.parametrize(
    ("kind", "text", "tells"),
    [
        ("openai_turns", '{"type":"agent.session.turn.output_text.delta"}', False),
        ("openai_turns", '{"type":"agent.session.turn.completed"}', True),
        ("openai_turns", '{"object":"agent.session.turn"}', True),
        ("openai_session", '{"type":"agent.session.turn.output_text.delta"}', False),
        ("openai_session", '{"type":"agent.session.created"}', True),
        ("openai_session", '{"object":"agent.session"}', True),
        ("anthropic_events", '{"type":"span.model_request_start"}', False),
        ("anthropic_events", '{"type":"span.model_request_end"}', True),
    ],
)
def test_events_that_tell_nothing_are_not_parsed(kind, text, tells):
    assert (jobs.EVENTS[kind].search(text.encode()) is not None) == tells


# -- whatever comes


GARBAGE = [None, 0, "x", [], [1], {}, {"a": None}, True, -1, 1e300, {"id": {"id": 1}}]
EVERYWHERE = [
    ("openai", "GET", "/batches/b"),
    ("openai", "GET", "/agents/sessions/s"),
    ("openai", "GET", "/agents/sessions/s/turns"),
    ("anthropic", "GET", "/v1/messages/batches/b"),
    ("anthropic", "GET", "/v1/sessions/s"),
    ("anthropic", "GET", "/v1/sessions/s/events"),
    ("google", "GET", "batches/b"),
    ("google", "GET", "projects/p/locations/l/batchPredictionJobs/7"),
]
FIELDS = (
    *("id", "status", "usage", "model", "endpoint", "created_at", "output_file_id", "data"),
    *("processing_status", "request_counts", "name", "metadata", "response", "state", "agent"),
    *("completionStats", "createTime", "turn", "session", "type", "model_usage"),
)


@pytest.mark.parametrize("where", EVERYWHERE)
def test_nothing_in_an_answer_makes_it_raise(where):
    job = follow(*where)
    whole = {
        "id": "b",
        "name": "b",
        "status": "completed",
        "processing_status": "ended",
        "state": "JOB_STATE_SUCCEEDED",
        "type": "span.model_request_end",
        "metadata": {"state": "BATCH_STATE_SUCCEEDED", "output": {"inlinedResponses": {}}},
    }
    jobs.read(job, b"\xff not json")
    for garbage in GARBAGE:
        jobs.read(job, json.dumps(garbage))
        jobs.read(job, json.dumps({"data": [garbage]}))
        for field in FIELDS:
            jobs.read(job, json.dumps({**whole, field: garbage}))


@pytest.mark.parametrize(
    "endpoint", ["chat.completions", "embeddings", "messages", "embed_content"]
)
def test_nothing_in_a_line_makes_it_raise(endpoint):
    for garbage in GARBAGE:
        for line in (
            garbage,
            {"id": garbage, "response": {"body": garbage, "status_code": garbage}},
            {"id": "x", "response": {"body": {"usage": garbage, "model": garbage}}},
            {"custom_id": garbage, "result": {"type": "succeeded", "message": {"usage": garbage}}},
            {"custom_id": "c", "result": {"type": "succeeded", "message": {"usage": garbage}}},
            {"key": garbage, "response": garbage},
            {"key": "k", "response": {"usageMetadata": garbage, "tokenCount": garbage}},
        ):
            jobs.line(request(endpoint), "b", json.dumps(line).encode(), 0)


def test_an_id_is_made_alike_everywhere():
    assert jobs.digest("openai", "batch_1") == jobs.digest("openai", "batch_1")
    assert len({jobs.digest("a", "bc"), jobs.digest("ab", "c"), jobs.digest("abc")}) == 3
    assert len(jobs.digest("openai", "batch_1")) == 32
