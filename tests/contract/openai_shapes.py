"""OpenAI and Azure: every way to call that bills, and those that must not be counted."""

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import openai
from pydantic import BaseModel

from otel_llm_usage.standin import Answer, StandIn

from .kit import ASK, FAILED, Caller, Shape, block, done, every, joined

chat = partial(Shape, provider="openai", endpoint="chat.completions", asked="gpt-4.1-mini")
legacy = partial(
    Shape,
    provider="openai",
    operation="text_completion",
    endpoint="completions",
    asked="gpt-3.5-turbo-instruct",
)
responses = partial(Shape, provider="openai", endpoint="responses", asked="gpt-5-mini")
embeddings = partial(
    Shape,
    provider="openai",
    operation="embeddings",
    endpoint="embeddings",
    asked="text-embedding-3-small",
    told={"response_id": None},
)
images = partial(
    Shape, provider="openai", operation="generate_content", endpoint="images", asked="gpt-image-1"
)
audio = partial(
    Shape,
    provider="openai",
    operation="generate_content",
    endpoint="audio.transcriptions",
    asked="gpt-4o-transcribe",
)
free = partial(Shape, provider="openai", endpoint="none", asked=None, records=0, bills=0)

CHAT: Mapping[str, Any] = {"model": "gpt-4.1-mini", "messages": ASK}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Look a topic up.",
            "parameters": {
                "type": "object",
                "properties": {"topic": {"type": "string"}},
                "required": ["topic"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }
]
RESPONSE: Mapping[str, Any] = {"model": "gpt-5-mini", "input": "What is the plan for today?"}
FUNCTION = {"type": "function", **TOOLS[0]["function"]}
SOUND = ("plan.wav", b"RIFF" + bytes(3996), "audio/wav")
HTTP = getattr(openai._base_client, "httpx2", None) or openai._base_client.httpx
"""The HTTP library whose objects this version gives out."""
PICTURE = ("plan.png", b"\x89PNG" + bytes(96), "image/png")


class Plan(BaseModel):
    """What a parsed answer looks like."""

    title: str
    steps: int


# chat


def helpers(client: Any) -> Any:
    """Where `parse()` and `stream()` are: they began among the betas."""
    completions = client.chat.completions
    return completions if hasattr(completions, "parse") else client.beta.chat.completions


async def chat_create(call: Caller, **more: Any) -> Any:
    return await done(call.openai().chat.completions.create(**{**CHAT, **more}))


async def chat_stream(call: Caller, **more: Any) -> Any:
    stream = await done(call.openai().chat.completions.create(**{**CHAT, "stream": True, **more}))
    chunks = await every(stream)
    return [chunks, stream]


async def chat_parse(call: Caller, **more: Any) -> Any:
    asked = helpers(call.openai()).parse(**CHAT, response_format=Plan, **more)
    return await done(asked)


async def chat_helper(call: Caller, **more: Any) -> Any:
    manager = helpers(call.openai()).stream(**CHAT, **more)
    async with block(manager) as stream:
        events = await every(stream)
        return [events, await done(stream.get_final_completion())]


async def chat_raw(call: Caller, parses: int, **more: Any) -> Any:
    raw = await done(call.openai().chat.completions.with_raw_response.create(**CHAT, **more))
    parsed = [await done(raw.parse()) for _ in range(parses)]
    return [raw, raw.text, raw.content, raw.http_response, *parsed]


async def chat_raw_stream(call: Caller) -> Any:
    client = call.openai()
    raw = await done(client.chat.completions.with_raw_response.create(**CHAT, stream=True))
    return [raw, await every(raw.parse()), raw.http_response]


async def chat_streaming_response(call: Caller, read: str, **more: Any) -> Any:
    completions = call.openai().chat.completions
    async with block(completions.with_streaming_response.create(**CHAT, **more)) as response:
        if read in ("iter_lines", "iter_text", "iter_bytes"):
            return [joined(await every(getattr(response, read)()), read), response]
        if read == "nothing":
            return response
        got = await done(getattr(response, read)())
        return [await every(got) if "stream" in more else got, response]


async def chat_post(call: Caller) -> Any:
    body = {**CHAT, "user": "me"}
    answer = await done(
        call.openai().post("/chat/completions", body=body, cast_to=openai.types.chat.ChatCompletion)
    )
    return [answer, body]


async def chat_post_stream(call: Caller) -> Any:
    body = {**CHAT, "stream": True}
    chunk = openai.types.chat.ChatCompletionChunk
    kind = openai.AsyncStream[chunk] if call.is_async else openai.Stream[chunk]
    stream = await done(
        call.openai().post(
            "/chat/completions", body=body, cast_to=chunk, stream=True, stream_cls=kind
        )
    )
    return [await every(stream), body]


async def chat_post_raw(call: Caller) -> Any:
    body = {**CHAT}
    kind = HTTP.Response
    return await done(call.openai().post("/chat/completions", body=body, cast_to=kind))


async def chat_turns(call: Caller) -> Any:
    """A conversation with tools, as one writes it by hand: three turns."""
    client, messages, said = call.openai(), list(ASK), []
    for _ in range(3):
        answer = await done(
            client.chat.completions.create(model="gpt-4.1-mini", messages=messages, tools=TOOLS)
        )
        said.append(answer)
        message = answer.choices[0].message
        messages.append(message)
        messages += [
            {"role": "tool", "tool_call_id": one.id, "content": "It is sunny."}
            for one in message.tool_calls or ()
        ]
    return said


async def chat_derived(call: Caller) -> Any:
    kind = openai.AsyncOpenAI if call.is_async else openai.OpenAI
    ours = type("OurClient", (kind,), {})
    client = ours(base_url=f"{call.url}/v1/", api_key="key")
    try:
        copied = client.with_options(timeout=30, max_retries=0)
        return await every(copied.chat.completions.create(**CHAT, stream=True))
    finally:
        await done(client.close())


async def chat_own_http(call: Caller) -> Any:
    http = openai.DefaultAsyncHttpxClient() if call.is_async else openai.DefaultHttpxClient()
    client = call.openai(http_client=http)
    return await every(client.chat.completions.create(**CHAT, stream=True))


async def chat_legacy_http(call: Caller, stream: bool) -> Any:
    """A client of the library that the SDK was built on before."""
    import httpx

    http = httpx.AsyncClient() if call.is_async else httpx.Client()
    client = call.openai(http_client=http)
    answer = await done(client.chat.completions.create(**CHAT, stream=stream))
    return await every(answer) if stream else answer


async def chat_aiohttp(call: Caller, stream: bool) -> Any:
    client = call.openai(http_client=openai.DefaultAioHttpClient())
    answer = await client.chat.completions.create(**CHAT, stream=stream)
    return await every(answer) if stream else answer


async def chat_next(call: Caller) -> Any:
    """A stream read by hand, inside its own `with` block."""
    stream = await done(call.openai().chat.completions.create(**CHAT, stream=True))
    async with block(stream) as inside:
        chunks = []
        while True:
            try:
                step = inside.__anext__() if call.is_async else next(inside)
                chunks.append(await done(step))
            except (StopIteration, StopAsyncIteration):
                return chunks


def honest_gzip(standin: StandIn) -> None:
    standin.script(
        lambda seen: Answer(gzip="gzip" in seen.headers.get("accept-encoding", "")), times=None
    )


def gzip(standin: StandIn) -> None:
    standin.script(gzip=True, times=None)


def split(standin: StandIn) -> None:
    standin.script(split=7, times=None)


def short(standin: StandIn) -> None:
    standin.script(finish="length", text='{"title": "A pl')


def filtered(standin: StandIn) -> None:
    standin.script(finish="refusal", text="")


def priority(standin: StandIn) -> None:
    standin.script(tier="priority")


def cached(standin: StandIn) -> None:
    standin.script(usage={"input": 100, "cache_read": 1024, "output": 7, "reasoning": 64})


PARSE = ("openai:chat.completions.parse or beta.chat.completions.parse",)
HELPER = ("openai:chat.completions.stream or beta.chat.completions.stream",)
AIOHTTP = ("openai.DefaultAioHttpClient", "aiohttp")
RESPONDS = ("openai:responses.create",)
LEGACY_HTTP = (
    "httpx.Client",
    "openai._base_client.httpx or openai._base_client.is_legacy_httpx_sync_client",
)

CHATS = [
    chat(id="chat create", run=chat_create),
    chat(id="chat create, cached and reasoning", run=chat_create, script=cached),
    chat(id="chat create, priority tier", run=partial(chat_create, model="gpt-4.1"), asked="gpt-4.1", script=priority),
    chat(id="chat create, gzip", run=chat_create, script=gzip),
    chat(id="chat create, tool calls", run=partial(chat_create, tools=TOOLS)),
    chat(id="chat create, two choices", run=partial(chat_create, n=2)),
    chat(id="chat, three turns with tools", run=chat_turns, records=3),
    chat(id="chat parse", run=chat_parse, needs=PARSE),
    chat(id="chat parse, too long", run=chat_parse, needs=PARSE, script=short, raises="LengthFinishReasonError"),
    chat(id="chat parse, content filter", run=chat_parse, needs=PARSE, script=filtered, raises="ContentFilterFinishReasonError"),
    chat(id="chat stream", run=chat_stream, stream=True, asks=True),
    chat(id="chat stream, asked by the caller", run=partial(chat_stream, stream_options={"include_usage": True}), stream=True),
    chat(id="chat stream, declined by the caller", run=partial(chat_stream, stream_options={"include_usage": False}), stream=True, asks=True),
    chat(id="chat stream, other options", run=partial(chat_stream, stream_options={"include_obfuscation": False}), stream=True, asks=True),
    chat(id="chat stream, options in extra_body", run=partial(chat_stream, extra_body={"stream_options": {"include_obfuscation": False}, "x": 1}), stream=True, asks=True),
    chat(id="chat stream, asked in extra_body", run=partial(chat_stream, extra_body={"stream_options": {"include_usage": True}}), stream=True),
    chat(id="chat stream, two choices", run=partial(chat_stream, n=2), stream=True, asks=True),
    chat(id="chat stream, tool calls", run=partial(chat_stream, tools=TOOLS), stream=True, asks=True),
    chat(id="chat stream, small writes", run=chat_stream, script=split, stream=True, asks=True),
    chat(id="chat stream, honest gzip", run=chat_stream, script=honest_gzip, stream=True, asks=True, encodings=True),
    chat(id="chat stream, gzip, asked by the caller", run=partial(chat_stream, stream_options={"include_usage": True}), script=gzip, stream=True),
    chat(id="chat stream, by hand", run=chat_next, stream=True, asks=True),
    chat(id="chat stream, own HTTP client", run=chat_own_http, stream=True, asks=True),
    chat(id="chat stream, derived client", run=chat_derived, stream=True, asks=True),
    chat(id="chat create, legacy HTTP client", run=partial(chat_legacy_http, stream=False), needs=LEGACY_HTTP),
    chat(id="chat stream, legacy HTTP client", run=partial(chat_legacy_http, stream=True), needs=LEGACY_HTTP, stream=True, asks=True),
    chat(id="chat create, aiohttp", run=partial(chat_aiohttp, stream=False), needs=AIOHTTP, modes=("async",)),
    chat(id="chat stream, aiohttp", run=partial(chat_aiohttp, stream=True), needs=AIOHTTP, stream=True, asks=True, modes=("async",)),
    chat(id="chat stream helper", run=chat_helper, needs=HELPER, stream=True, asks=True),
    chat(id="chat stream helper, asked", run=partial(chat_helper, stream_options={"include_usage": True}), needs=HELPER, stream=True),
    chat(id="chat stream helper, parsed", run=partial(chat_helper, response_format=Plan), needs=HELPER, stream=True, asks=True),
    chat(id="chat stream helper, tool calls", run=partial(chat_helper, tools=TOOLS), needs=HELPER, stream=True, asks=True),
    chat(id="chat raw, never parsed", run=partial(chat_raw, parses=0)),
    chat(id="chat raw, parsed once", run=partial(chat_raw, parses=1)),
    chat(id="chat raw, parsed twice", run=partial(chat_raw, parses=2)),
    chat(id="chat raw stream", run=chat_raw_stream, stream=True, asks=True),
    *(
        chat(id=f"chat streaming response, {read}", run=partial(chat_streaming_response, read=read))
        for read in ("iter_lines", "iter_text", "iter_bytes", "parse", "json", "text", "read")
    ),
    *(
        chat(
            id=f"chat streaming response of a stream, {read}",
            run=partial(chat_streaming_response, read=read, stream=True),
            stream=True,
            asks=True,
        )
        for read in ("iter_lines", "iter_text", "iter_bytes", "parse")
    ),
    chat(
        id="chat streaming response, never read",
        run=partial(chat_streaming_response, read="nothing"),
        told={"status": "aborted", "usage_source": "estimated", "usage": {"input": 7}, "response_model": None, "response_id": None, "tier": None, "cost.status": "partial", "cost.reasons": ("no_count:output",)},
    ),
    chat(id="chat post", run=chat_post),
    chat(id="chat post, stream", run=chat_post_stream, stream=True, asks=True),
    chat(id="chat post, HTTP response", run=chat_post_raw),
]  # fmt: skip

# legacy completions, responses


async def legacy_create(call: Caller, **more: Any) -> Any:
    client = call.openai()
    asked = {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon a time", **more}
    answer = await done(client.completions.create(**asked))
    return await every(answer) if "stream" in more else answer


async def response_create(call: Caller, **more: Any) -> Any:
    answer = await done(call.openai().responses.create(**{**RESPONSE, **more}))
    return [await every(answer), answer] if "stream" in more else answer


async def response_parse(call: Caller) -> Any:
    return await done(call.openai().responses.parse(**RESPONSE, text_format=Plan))


async def response_helper(call: Caller, **more: Any) -> Any:
    async with block(call.openai().responses.stream(**RESPONSE, **more)) as stream:
        return [await every(stream), await done(stream.get_final_response())]


async def response_raw(call: Caller) -> Any:
    raw = await done(call.openai().responses.with_raw_response.create(**RESPONSE))
    return [raw, raw.text, await done(raw.parse())]


async def response_streaming(call: Caller) -> Any:
    resource = call.openai().responses.with_streaming_response
    async with block(resource.create(**RESPONSE, stream=True)) as response:
        return [await every(response.iter_lines()), response]


async def response_background(call: Caller) -> Any:
    client = call.openai()
    queued = await done(client.responses.create(**RESPONSE, background=True))
    return [queued, await done(client.responses.retrieve(queued.id))]


async def response_compact(call: Caller) -> Any:
    return await done(call.openai().responses.compact(**RESPONSE))


async def response_retrieve(call: Caller) -> Any:
    client = call.openai()
    made = await done(client.responses.create(**RESPONSE))
    return [made, await done(client.responses.retrieve(made.id))]


COMPACTED = {
    "id": "resp_c",
    "object": "response.compaction",
    "created_at": 1,
    "output": [{"id": "cmp_1", "type": "compaction", "encrypted_content": "x"}],
    "usage": {
        "input_tokens": 50,
        "input_tokens_details": {"cached_tokens": 8},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 59,
    },
}


def compacts(standin: StandIn) -> None:
    standin.reply(COMPACTED, match="/responses/compact")


RESPONSES = [
    legacy(id="completions", run=legacy_create),
    legacy(id="completions stream", run=partial(legacy_create, stream=True), stream=True, asks=True),
    responses(id="responses create", run=response_create, needs=RESPONDS),
    responses(id="responses create, tool calls", run=partial(response_create, tools=[FUNCTION]), needs=RESPONDS),
    responses(id="responses create, cut at its limit", run=partial(response_create, max_output_tokens=5), needs=RESPONDS),
    responses(id="responses parse", run=response_parse, needs=("openai:responses.parse",)),
    responses(id="responses stream", run=partial(response_create, stream=True), needs=RESPONDS, stream=True),
    responses(id="responses stream, tool calls", run=partial(response_create, stream=True, tools=[FUNCTION]), needs=RESPONDS, stream=True),
    responses(id="responses stream, cut at its limit", run=partial(response_create, stream=True, max_output_tokens=5), needs=RESPONDS, stream=True),
    responses(id="responses stream, gzip", run=partial(response_create, stream=True), needs=RESPONDS, script=gzip, stream=True),
    responses(id="responses stream, small writes", run=partial(response_create, stream=True), needs=RESPONDS, script=split, stream=True),
    responses(id="responses stream helper", run=response_helper, needs=("openai:responses.stream",), stream=True),
    responses(id="responses stream helper, parsed", run=partial(response_helper, text_format=Plan), needs=("openai:responses.stream",), stream=True),
    responses(id="responses raw", run=response_raw, needs=RESPONDS),
    responses(id="responses streaming response", run=response_streaming, needs=RESPONDS, stream=True),
    responses(id="responses create and retrieve", run=response_retrieve, needs=RESPONDS),
    responses(
        id="responses compact",
        run=response_compact,
        needs=("openai:responses.compact",),
        script=compacts,
        bills=0,
        told={"usage": {"input": 42, "cache_read": 8, "output": 5, "reasoning": 4}, "response_id": "resp_c", "response_model": None},
    ),
    responses(
        id="responses in the background",
        run=response_background,
        needs=("openai:responses.create(background)",),
    ),
]  # fmt: skip

# embeddings, images, audio


async def embed(call: Caller, **more: Any) -> Any:
    given = {"model": "text-embedding-3-small", "input": ["one plan", "another plan"]}
    return await done(call.openai().embeddings.create(**{**given, **more}))


async def embed_raw(call: Caller) -> Any:
    resource = call.openai().embeddings.with_raw_response
    raw = await done(resource.create(model="text-embedding-3-small", input="one plan"))
    return [raw, raw.text, raw.http_response]


async def embed_streaming(call: Caller) -> Any:
    resource = call.openai().embeddings.with_streaming_response
    manager = resource.create(model="text-embedding-3-small", input="one plan")
    async with block(manager) as response:
        return [joined(await every(response.iter_bytes()), "iter_bytes"), response]


async def image(call: Caller, **more: Any) -> Any:
    asked = {"model": "gpt-image-1", "prompt": "A plan", **more}
    answer = await done(call.openai().images.generate(**asked))
    return await every(answer) if "stream" in more else answer


async def image_edit(call: Caller, **more: Any) -> Any:
    asked = {"model": "gpt-image-1", "prompt": "A plan", "image": PICTURE, **more}
    answer = await done(call.openai().images.edit(**asked))
    return await every(answer) if "stream" in more else answer


async def transcribe(call: Caller, **more: Any) -> Any:
    asked = {"model": "gpt-4o-transcribe", "file": SOUND, **more}
    answer = await done(call.openai().audio.transcriptions.create(**asked))
    return await every(answer) if "stream" in more else answer


async def translate(call: Caller) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asked = call.openai().audio.translations.create(model="whisper-1", file=SOUND)
    return await done(asked)


async def speak(call: Caller) -> Any:
    said = {"model": "tts-1", "voice": "alloy", "input": "The plan."}
    answer = await done(call.openai().audio.speech.create(**said))
    return [answer.response, answer.content]


async def speak_streaming(call: Caller) -> Any:
    said = {"model": "tts-1", "voice": "alloy", "input": "The plan."}
    resource = call.openai().audio.speech.with_streaming_response
    async with block(resource.create(**said)) as response:
        return [await every(response.iter_bytes(100)), response]


SILENT = {"usage": None, "usage_source": "missing", "response_model": None, "response_id": None}
NAMELESS = {"response_model": None, "response_id": None}
"""These shapes name no model in their answer, and no id."""

MEDIA = [
    embeddings(id="embeddings", run=embed),
    embeddings(id="embeddings, floats", run=partial(embed, encoding_format="float")),
    embeddings(id="embeddings, base64", run=partial(embed, encoding_format="base64")),
    embeddings(id="embeddings, tokens", run=partial(embed, input=[1, 2, 3], dimensions=4)),
    embeddings(id="embeddings raw", run=embed_raw),
    embeddings(id="embeddings streaming response", run=embed_streaming),
    images(id="images generate", run=image, told=NAMELESS),
    images(id="images generate, stream", run=partial(image, stream=True, partial_images=1), needs=("openai:images.generate(stream)",), stream=True, told=NAMELESS),
    images(id="images edit", run=image_edit, told=NAMELESS),
    images(id="images edit, stream", run=partial(image_edit, stream=True), needs=("openai:images.edit(stream)",), stream=True, told=NAMELESS),
    images(id="images generate, dall-e", run=partial(image, model="dall-e-3"), asked="dall-e-3", told={**NAMELESS, "usage": None}),
    audio(id="transcription", run=transcribe, told=NAMELESS),
    audio(id="transcription, stream", run=partial(transcribe, stream=True), needs=("openai:audio.transcriptions.create(stream)",), stream=True, told=NAMELESS),
    audio(id="transcription by the second", run=partial(transcribe, model="whisper-1"), asked="whisper-1", told={**NAMELESS, "usage": {}, "units": {"audio_seconds": 5}}),
    audio(id="transcription by the second, verbose", run=partial(transcribe, model="whisper-1", response_format="verbose_json"), asked="whisper-1", told={**NAMELESS, "usage": {}, "units": {"audio_seconds": 5}}),
    audio(id="transcription as text", run=partial(transcribe, model="whisper-1", response_format="text"), asked="whisper-1", told={**SILENT, "units": {}}),
    audio(id="transcription as subtitles", run=partial(transcribe, model="whisper-1", response_format="srt"), asked="whisper-1", told={**SILENT, "units": {}}),
    audio(id="translation", run=translate, endpoint="audio.translations", asked="whisper-1", told={**NAMELESS, "usage": {}, "units": {"audio_seconds": 5}}),
    audio(id="speech", run=speak, endpoint="audio.speech", asked="tts-1", told={**NAMELESS, "usage": None, "units": {"characters": 9}}),
    audio(id="speech streaming response", run=speak_streaming, endpoint="audio.speech", asked="tts-1", told={**NAMELESS, "usage": None, "units": {"characters": 9}}),
]  # fmt: skip

# what bills nothing


async def moderate(call: Caller) -> Any:
    return await done(call.openai().moderations.create(input="The plan."))


async def models(call: Caller) -> Any:
    return await every(call.openai().models.list())


async def count(call: Caller) -> Any:
    return await done(call.openai().responses.input_tokens.count(**RESPONSE))


async def missing(call: Caller) -> Any:
    return await done(call.openai().responses.retrieve("resp_nobody"))


FREE = [
    free(id="moderations", run=moderate),
    free(id="models", run=models),
    free(id="responses count", run=count, needs=("openai:responses.input_tokens.count",)),
    free(id="responses retrieve, unknown", run=missing, needs=RESPONDS, raises="NotFoundError"),
]

# Azure

azure = partial(chat, provider="azure.ai.openai", asked="prod")


async def azure_chat(call: Caller, **more: Any) -> Any:
    options = {k: more.pop(k) for k in ("api_version", "base_url", "azure_deployment") if k in more}
    if "base_url" in options:
        options["base_url"] = options["base_url"].replace("URL", call.url)
    client = call.azure(**options)
    answer = await done(client.chat.completions.create(**{**CHAT, "model": "prod", **more}))
    return [await every(answer), answer] if "stream" in more else answer


async def azure_embed(call: Caller) -> Any:
    client = call.azure()
    return await done(client.embeddings.create(model="text-embedding-3-small", input="one plan"))


async def azure_response(call: Caller) -> Any:
    client = call.azure(base_url=f"{call.url}/openai/v1/", api_version="preview")
    return await done(client.responses.create(**RESPONSE))


UNASKED = {"status": "ok", "usage_source": "missing", "usage": None}
OLD = "2024-06-01"
SOURCES = {"data_sources": [{"type": "azure_search", "parameters": {}}]}
V1 = "URL/openai/v1/"
LEFT_ALONE = {**UNASKED, "response_model": "gpt-4.1-mini-2025-04-14", "cost.status": "unpriced"}

AZURE = [
    azure(id="azure chat", run=azure_chat),
    azure(id="azure chat, fixed deployment", run=partial(azure_chat, azure_deployment="prod")),
    azure(id="azure chat stream", run=partial(azure_chat, stream=True), stream=True, asks=True),
    azure(id="azure chat stream, v1", run=partial(azure_chat, base_url=V1, api_version="preview", stream=True), stream=True, asks=True),
    azure(id="azure chat stream, old version", run=partial(azure_chat, api_version=OLD, stream=True), stream=True, told=LEFT_ALONE),
    azure(id="azure chat stream, own data", run=partial(azure_chat, extra_body=SOURCES, stream=True), stream=True, told=LEFT_ALONE),
    embeddings(id="azure embeddings", run=azure_embed, provider="azure.ai.openai"),
    responses(id="azure responses, v1", run=azure_response, needs=("azure:responses.create",), provider="azure.ai.openai"),
]  # fmt: skip

# failures


async def chat_with(call: Caller, retries: int, **options: Any) -> Any:
    client = call.openai(max_retries=retries, **options)
    return await done(client.chat.completions.create(**CHAT))


async def chat_stream_with(call: Caller, retries: int = 0) -> Any:
    client = call.openai(max_retries=retries)
    return await every(client.chat.completions.create(**CHAT, stream=True))


async def chat_raw_failing(call: Caller) -> Any:
    client = call.openai(max_retries=0)
    return await done(client.chat.completions.with_raw_response.create(**CHAT))


async def chat_nowhere(call: Caller) -> Any:
    await done(call.openai().models.list())
    client = call.openai(base_url="http://127.0.0.1:9/v1", max_retries=1)
    return await done(client.chat.completions.create(**CHAT))


def failing(status: int, times: int = 1) -> Any:
    def script(standin: StandIn) -> None:
        standin.script(status=status, retry_after=0.01, times=times)

    return script


def late(standin: StandIn) -> None:
    standin.reply({}, delay=1.5)


def refused(status: int) -> Mapping[str, Any]:
    return {**FAILED, "error_type": str(status), "http_status": status}


def broken_json(standin: StandIn) -> None:
    standin.reply(b'{"id": "x", "choi')


def unanswered(kind: str) -> Mapping[str, Any]:
    return {**FAILED, "error_type": kind, "cost.status": "unpriced"}


SLOW = openai.Timeout(30, read=0.2)
"""The connection is there, and the answer does not come."""


failed = partial(chat, bills=0)

FAILURES = [
    failed(id="chat, 400", run=partial(chat_with, retries=2), script=failing(400), raises="BadRequestError", told=refused(400)),
    failed(id="chat, 401", run=partial(chat_with, retries=2), script=failing(401), raises="AuthenticationError", told=refused(401)),
    failed(id="chat, 404", run=partial(chat_with, retries=2), script=failing(404), raises="NotFoundError", told=refused(404)),
    failed(id="chat, 500 thrice", run=partial(chat_with, retries=2), script=failing(500, 3), raises="InternalServerError", told=refused(500)),
    failed(id="chat raw, 429", run=chat_raw_failing, script=failing(429), raises="RateLimitError", told=refused(429)),
    failed(id="chat stream, 400", run=chat_stream_with, script=failing(400), raises="BadRequestError", told=refused(400), stream=True, asks=True),
    failed(id="chat, too slow", run=partial(chat_with, retries=0, timeout=SLOW), script=late, raises="APITimeoutError", told=unanswered("APITimeoutError")),
    failed(id="chat, nobody there", run=chat_nowhere, raises="APIConnectionError", told={**FAILED, "error_type": "APIConnectionError", "request.server_port": 9}),
    chat(id="chat, 429 and then well", run=partial(chat_with, retries=2), script=failing(429)),
    chat(id="chat, 500 twice and then well", run=partial(chat_with, retries=2), script=failing(500, 2)),
    chat(id="chat stream, 429 and then well", run=partial(chat_stream_with, retries=2), script=failing(429), stream=True, asks=True),
]  # fmt: skip

# settings

NEVER = {"stream_usage": {"127.0.0.1": "never"}}
ALWAYS = {"stream_usage": {"127.0.0.1": "always"}}

SETTINGS = [
    chat(id="chat stream, stream_usage never", run=chat_stream, settings=NEVER, stream=True, told=LEFT_ALONE),
    azure(id="azure chat stream, old version, stream_usage always", run=partial(azure_chat, api_version=OLD, stream=True), settings=ALWAYS, stream=True, asks=True),
    chat(id="chat create, only other SDKs", run=chat_create, settings={"sdks": ["google"]}, records=0, bills=1),
]  # fmt: skip

SHAPES = [*CHATS, *RESPONSES, *MEDIA, *FREE, *AZURE, *FAILURES, *SETTINGS]
