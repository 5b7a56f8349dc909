"""Asking for the usage of a stream, and hiding that byte for byte."""

import json

import pytest

from otel_llm_usage import providers
from otel_llm_usage.providers import hide_injected_usage, stream_usage_policy, usage_filter

CHAT = "/chat/completions"
ASKED = {"stream": True, "messages": []}
AZURE = "https://x.openai.azure.com/openai"

POLICIES = [
    ("https://api.openai.com/v1", CHAT, "inject"),
    ("https://eu.api.openai.com/v1", CHAT, "inject"),
    ("https://api.openai.com/v1", "/completions", "inject"),
    ("https://api.openai.com/v1", "/responses", "leave"),
    ("http://localhost:8000/v1", CHAT, "inject"),
    ("https://vllm.corp.example/v1", CHAT, "inject"),
    ("https://api.fireworks.ai/inference/v1", CHAT, "inject"),
    ("https://generativelanguage.googleapis.com/v1beta/openai", CHAT, "inject_strip"),
    ("https://api.groq.com/openai/v1", CHAT, "leave"),
    ("https://api.together.xyz/v1", CHAT, "leave"),
    ("https://api.perplexity.ai", CHAT, "leave"),
    ("https://api.cerebras.ai/v1", CHAT, "leave"),
    ("https://openrouter.ai/api/v1", CHAT, "leave"),
    ("https://router.huggingface.co/v1", CHAT, "leave"),
    ("https://router.huggingface.co/novita/v3/openai", CHAT, "leave"),
    ("https://api.x.ai/v1", CHAT, "leave"),
    ("https://api.deepseek.com", CHAT, "leave"),
    ("https://api.mistral.ai/v1", CHAT, "leave"),
    ("https://x.cloud.databricks.com/serving-endpoints", CHAT, "leave"),
    (AZURE, "/deployments/d/chat/completions", "inject"),
    (AZURE, "/deployments/d/chat/completions?api-version=2024-06-01", "leave"),
    (AZURE, "/deployments/d/chat/completions?api-version=2024-08-01-preview", "leave"),
    (AZURE, "/deployments/d/chat/completions?api-version=2024-09-01-preview", "inject"),
    (AZURE, "/deployments/d/chat/completions?api-version=2024-10-21", "inject"),
    (AZURE, "/deployments/d/chat/completions?api-version=preview", "inject"),
    (AZURE + "?api-version=2023-05-15", "/deployments/d/chat/completions", "leave"),
]


@pytest.mark.parametrize(("base_url", "url", "policy"), POLICIES)
def test_who_is_asked_depends_on_the_host(base_url, url, policy):
    assert stream_usage_policy(base_url, url, ASKED) == policy


@pytest.mark.parametrize(
    ("body", "policy"),
    [
        ({"stream": True, "stream_options": {"include_usage": True}}, "leave"),
        ({"stream": True, "stream_options": {"include_usage": False}}, "inject"),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, "inject"),
        ({"stream": True, "stream_options": None}, "inject"),
        ({"stream": True, "stream_options": "nonsense"}, "inject"),
        ({"stream": False}, "leave"),
        ({}, "leave"),
    ],
)
def test_nobody_is_asked_twice_nor_without_a_stream(body, policy):
    assert stream_usage_policy("https://api.openai.com/v1", CHAT, body) == policy


def test_azure_on_your_data_is_not_asked():
    body = {**ASKED, "data_sources": [{}]}
    assert stream_usage_policy(AZURE, "/deployments/d/chat/completions", body) == "leave"
    url = "http://127.0.0.1:1/openai"
    client = "AsyncAzureOpenAI"
    assert stream_usage_policy(url, CHAT, body, client=client) == "leave"
    assert stream_usage_policy(url, CHAT, ASKED, client=client) == "inject"


@pytest.mark.parametrize(
    ("said", "policy"), [("auto", "leave"), ("always", "inject"), ("never", "leave")]
)
def test_the_user_decides_for_a_host(said, policy):
    override = {"api.groq.com": said}
    url = "https://api.groq.com/openai/v1"
    assert stream_usage_policy(url, CHAT, ASKED, override=override) == policy
    everywhere = {"*": said}
    assert stream_usage_policy(url, CHAT, ASKED, override=everywhere) == policy
    gateway = "http://127.0.0.1:8080/v1"
    on_the_port = {"127.0.0.1:8080": "never", "127.0.0.1": "always", "*": "always"}
    assert stream_usage_policy(gateway, CHAT, ASKED, override=on_the_port) == "leave"
    never = {"api.openai.com": "never"}
    assert stream_usage_policy("https://api.openai.com/v1", CHAT, ASKED, override=never) == "leave"


# Hiding

CHUNK = (
    b'{"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null,"obfuscation":"ab"}'
)
SPARE = b'{"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}],"obfuscation":"ab"}'
COUNTED = b'{"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


def sse(data, end=b"\n\n"):
    return b"data: " + data + end


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"", b"\n"])
def test_a_null_usage_is_cut_out_with_its_comma_whatever_ends_the_event(end):
    assert hide_injected_usage(sse(CHUNK, end)) == sse(SPARE, end)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"a":1,"usage":null}', b'{"a":1}'),
        (b'{"usage":null,"a":1}', b'{"a":1}'),
        (b'{"usage":null}', b"{}"),
        (b'{"a": 1, "usage": null, "b": 2}', b'{"a": 1, "b": 2}'),
        (b'{"usage": null, "b": 2}', b'{"b": 2}'),
        (b'{"a":[{"usage":null}],"usage":null,"b":{}}', b'{"a":[{"usage":null}],"b":{}}'),
        (b'{"usage":null,"a":[{"usage":null}]}', b'{"a":[{"usage":null}]}'),
        (b'{"a":"}","usage":null,"b":"}]"}', b'{"a":"}","b":"}]"}'),
    ],
)
def test_only_the_usage_on_top_is_cut(before, after):
    assert hide_injected_usage(sse(before)) == sse(after)
    assert json.loads(after) == {k: v for k, v in json.loads(before).items() if k != "usage"}


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[{"delta":{"content":"hi"}}]}',
        b'{"choices":[{"delta":{"content":"\\"usage\\":null"}}]}',
        b'{"choices":[{"delta":{"content":"usage"}}]}',
        b'{"choices":[{"delta":{"content":"x"},"usage":null}]}',
        b'{"choices":[{"delta":{}}],"x_groq":{"usage":null}}',
        b'{"choices":[],"prompt_filter_results":[],"model":""}',
        b'{"choices":[{"delta":{"content":"hi"}}],"usage":{"prompt_tokens":1}}',
        b'{"choices":[{"delta":{"content":"usage"}}],"finish":"usage"}',
        b"[DONE]",
        b'{"usage":null',
        b'"usage"',
        b"[1]",
        b"",
    ],
)
def test_everything_else_comes_back_as_the_same_object(data):
    event = sse(data)
    assert hide_injected_usage(event) is event


@pytest.mark.parametrize("known", [True, False])
def test_the_chunk_that_came_only_for_the_usage_disappears(known):
    assert hide_injected_usage(sse(COUNTED), known=known) == b""
    padded = b'{"choices": [], "usage": {"prompt_tokens": 1}, "obfuscation": "}x"}'
    assert hide_injected_usage(sse(padded), known=known) == b""


def test_on_an_unknown_host_a_null_usage_stays():
    event = sse(CHUNK)
    assert hide_injected_usage(event, known=False) is event


def test_usage_in_a_chunk_with_choices_goes_only_where_it_comes_from_asking():
    data = b'{"a":1,"usage":{"x":{"y":[1]},"s":"}"},"choices":[{"delta":{"content":"\xc3\xa9"}}]}'
    event = sse(data)
    assert hide_injected_usage(event) is event
    assert hide_injected_usage(event, strip=True) == sse(
        b'{"a":1,"choices":[{"delta":{"content":"\xc3\xa9"}}]}'
    )
    last = b'{"choices":[{"delta":{}}],"usage":{"x":1}}'
    assert hide_injected_usage(sse(last), strip=True) == sse(b'{"choices":[{"delta":{}}]}')


def test_events_with_names_comments_and_ids_keep_them():
    event = b": hello\r\nevent: x\r\nid: 7\r\ndata:" + CHUNK + b"\r\nretry: 3\r\n\r\n"
    hidden = b": hello\r\nevent: x\r\nid: 7\r\ndata:" + SPARE + b"\r\nretry: 3\r\n\r\n"
    assert hide_injected_usage(event) == hidden
    after = b"data: " + CHUNK + b"\nid: 7\n\n"
    assert hide_injected_usage(after) == b"data: " + SPARE + b"\nid: 7\n\n"


def test_data_over_several_lines_is_left_alone():
    event = b'data: {"choices":[],\ndata: "usage":{}}\n\n'
    assert hide_injected_usage(event) is event


@pytest.mark.parametrize(
    ("base_url", "client", "null_stays", "usage_stays"),
    [
        ("https://api.openai.com/v1", "", False, True),
        ("http://127.0.0.1:8000/v1", "OpenAI", False, True),
        ("http://localhost:8000/openai", "AzureOpenAI", False, True),
        ("https://vllm.corp.example/v1", "OpenAI", True, True),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "OpenAI", False, False),
    ],
)
def test_the_filter_knows_the_host(base_url, client, null_stays, usage_stays):
    hide = usage_filter(base_url, CHAT, ASKED, client=client)
    assert hide is not None
    assert (hide(sse(CHUNK)) == sse(CHUNK)) is null_stays
    mixed = sse(b'{"choices":[{"delta":{}}],"usage":{"x":1}}')
    assert (hide(mixed) == mixed) is usage_stays
    assert hide(sse(COUNTED)) == b""


def test_there_is_no_filter_where_nobody_asks():
    assert usage_filter("https://api.groq.com/openai/v1", CHAT, ASKED) is None
    assert usage_filter("https://api.openai.com/v1", CHAT, {"stream": False}) is None


def test_what_is_hidden_is_still_read(play):
    played = play("chat", [CHUNK.decode(), COUNTED.decode()], host="http://127.0.0.1:1/v1")
    assert played.usage.total_tokens == 3
    assert providers.known_dialect("http://127.0.0.1:1/v1")
