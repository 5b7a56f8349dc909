"""What a user's program asks of the three SDKs, the same for each company."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from otel_llm_usage.standin import StandIn

Program = Callable[[StandIn], Any]

ASK: Any = [{"role": "user", "content": "What is the plan for today?"}]
GPT, CLAUDE, GEMINI = "gpt-4.1-mini", "claude-haiku-4-5", "gemini-2.5-flash"

EXPORTER = InMemorySpanExporter()
"""Where every span of a passage ends."""


class Plan(BaseModel):
    """What a structured answer holds."""

    title: str
    steps: int


def weather(city: str) -> str:
    """How the weather is in a city."""
    return f"Sunny in {city}."


def switches(instrumentors):
    """How a package is put on and taken off that has an instrumentor for each SDK."""

    def on():
        for one in instrumentors():
            one.instrument()

    def off():
        for one in instrumentors():
            one.uninstrument()

    return on, off


def programs(sdks: tuple[str, ...]) -> dict[str, Program]:
    """The programs of these SDKs, by `sdk: what`."""
    return {f"{sdk}: {name}": program for sdk in sdks for name, program in _PROGRAMS[sdk]().items()}


def left(name: str) -> bool:
    """Whether the program leaves its stream: what was billed then, nobody is told exactly."""
    return "left" in name


_loop = asyncio.new_event_loop()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run async work, in one loop for all: frameworks keep their clients."""
    return _loop.run_until_complete(work)


def _once(work: Callable[[StandIn], Coroutine[Any, Any, Any]]) -> Program:
    return lambda standin: run(work(standin))


# openai


def _openai() -> dict[str, Program]:
    import openai

    def client(standin: StandIn) -> Any:
        return openai.OpenAI(base_url=f"{standin.url}/v1", api_key="key", max_retries=0)

    def chat(standin: StandIn) -> Any:
        return client(standin).chat.completions.create(model=GPT, messages=ASK)

    def chat_stream(standin: StandIn) -> Any:
        return list(client(standin).chat.completions.create(model=GPT, messages=ASK, stream=True))

    def chat_stream_with_usage(standin: StandIn) -> Any:
        options: Any = {"include_usage": True}
        return list(
            client(standin).chat.completions.create(
                model=GPT, messages=ASK, stream=True, stream_options=options
            )
        )

    def chat_stream_left(standin: StandIn) -> Any:
        stream = client(standin).chat.completions.create(model=GPT, messages=ASK, stream=True)
        first = next(iter(stream))
        stream.close()
        return first

    def chat_stream_helper(standin: StandIn) -> Any:
        with client(standin).chat.completions.stream(model=GPT, messages=ASK) as stream:
            return [*(event.type for event in stream), stream.get_final_completion()]

    def chat_error(standin: StandIn) -> Any:
        return client(standin).chat.completions.create(model=f"{GPT}-400", messages=ASK)

    def chat_stream_error(standin: StandIn) -> Any:
        return client(standin).chat.completions.create(
            model=f"{GPT}-429", messages=ASK, stream=True
        )

    def retried(standin: StandIn) -> Any:
        again = client(standin).with_options(max_retries=2)
        return again.chat.completions.create(model=f"{GPT}-flaky", messages=ASK)

    def parse(standin: StandIn) -> Any:
        return client(standin).chat.completions.parse(model=GPT, messages=ASK, response_format=Plan)

    def raw(standin: StandIn) -> Any:
        answer = client(standin).chat.completions.with_raw_response.create(model=GPT, messages=ASK)
        return answer.parse()

    def responses(standin: StandIn) -> Any:
        return client(standin).responses.create(model=GPT, input="What is the plan?")

    def responses_stream(standin: StandIn) -> Any:
        return list(client(standin).responses.create(model=GPT, input="And now?", stream=True))

    def embeddings(standin: StandIn) -> Any:
        return client(standin).embeddings.create(model="text-embedding-3-small", input="A plan.")

    def later(standin: StandIn) -> Any:
        return openai.AsyncOpenAI(base_url=f"{standin.url}/v1", api_key="key", max_retries=0)

    async def chat_async(standin: StandIn) -> Any:
        async with later(standin) as client:
            return await client.chat.completions.create(model=GPT, messages=ASK)

    async def chat_stream_async(standin: StandIn) -> Any:
        async with later(standin) as client:
            stream = await client.chat.completions.create(model=GPT, messages=ASK, stream=True)
            return [chunk async for chunk in stream]

    async def chat_error_async(standin: StandIn) -> Any:
        async with later(standin) as client:
            return await client.chat.completions.create(model=f"{GPT}-400", messages=ASK)

    async def responses_stream_async(standin: StandIn) -> Any:
        async with later(standin) as client:
            stream = await client.responses.create(model=GPT, input="And now?", stream=True)
            return [event async for event in stream]

    return {
        "chat": chat,
        "chat, stream": chat_stream,
        "chat, stream with usage": chat_stream_with_usage,
        "chat, stream left": chat_stream_left,
        "chat, stream helper": chat_stream_helper,
        "chat, error": chat_error,
        "chat, stream, error": chat_stream_error,
        "chat, retried": retried,
        "chat, parse": parse,
        "chat, raw": raw,
        "responses": responses,
        "responses, stream": responses_stream,
        "embeddings": embeddings,
        "chat, async": _once(chat_async),
        "chat, async stream": _once(chat_stream_async),
        "chat, async error": _once(chat_error_async),
        "responses, async stream": _once(responses_stream_async),
    }


# anthropic


def _anthropic() -> dict[str, Program]:
    import anthropic

    asked: dict[str, Any] = {"model": CLAUDE, "max_tokens": 200, "messages": ASK}

    def client(standin: StandIn) -> Any:
        return anthropic.Anthropic(base_url=standin.url, api_key="key", max_retries=0)

    def create(standin: StandIn) -> Any:
        return client(standin).messages.create(**asked)

    def stream(standin: StandIn) -> Any:
        return list(client(standin).messages.create(**asked, stream=True))

    def stream_helper(standin: StandIn) -> Any:
        with client(standin).messages.stream(**asked) as stream:
            return [*(event.type for event in stream), stream.get_final_message()]

    def stream_left(standin: StandIn) -> Any:
        stream = client(standin).messages.create(**asked, stream=True)
        first = next(iter(stream))
        stream.close()
        return first

    def error(standin: StandIn) -> Any:
        return client(standin).messages.create(**{**asked, "model": f"{CLAUDE}-400"})

    def stream_error(standin: StandIn) -> Any:
        return client(standin).messages.create(**{**asked, "model": f"{CLAUDE}-529"}, stream=True)

    def raw(standin: StandIn) -> Any:
        return client(standin).messages.with_raw_response.create(**asked).parse()

    def later(standin: StandIn) -> Any:
        return anthropic.AsyncAnthropic(base_url=standin.url, api_key="key", max_retries=0)

    async def create_async(standin: StandIn) -> Any:
        async with later(standin) as client:
            return await client.messages.create(**asked)

    async def stream_async(standin: StandIn) -> Any:
        async with later(standin) as client:
            stream = await client.messages.create(**asked, stream=True)
            return [event async for event in stream]

    async def stream_helper_async(standin: StandIn) -> Any:
        async with later(standin) as client, client.messages.stream(**asked) as stream:
            return [*[event.type async for event in stream], await stream.get_final_message()]

    async def error_async(standin: StandIn) -> Any:
        async with later(standin) as client:
            return await client.messages.create(**{**asked, "model": f"{CLAUDE}-400"})

    return {
        "messages": create,
        "messages, stream": stream,
        "messages, stream helper": stream_helper,
        "messages, stream left": stream_left,
        "messages, error": error,
        "messages, stream, error": stream_error,
        "messages, raw": raw,
        "messages, async": _once(create_async),
        "messages, async stream": _once(stream_async),
        "messages, async stream helper": _once(stream_helper_async),
        "messages, async error": _once(error_async),
    }


# google


def _google() -> dict[str, Program]:
    from google import genai
    from google.genai import types

    def client(standin: StandIn) -> Any:
        options = types.HttpOptions(base_url=standin.url)
        return genai.Client(api_key="key", http_options=options)

    def generate(standin: StandIn) -> Any:
        made = client(standin)
        return made.models.generate_content(model=GEMINI, contents="What is the plan?")

    def stream(standin: StandIn) -> Any:
        made = client(standin)
        return list(made.models.generate_content_stream(model=GEMINI, contents="And now?"))

    def stream_left(standin: StandIn) -> Any:
        made = client(standin)
        stream = made.models.generate_content_stream(model=GEMINI, contents="And now?")
        first = next(iter(stream))
        stream.close()
        return first

    def error(standin: StandIn) -> Any:
        made = client(standin)
        return made.models.generate_content(model=f"{GEMINI}-400", contents="What?")

    def stream_error(standin: StandIn) -> Any:
        made = client(standin)
        return list(made.models.generate_content_stream(model=f"{GEMINI}-400", contents="What?"))

    def chat(standin: StandIn) -> Any:
        made = client(standin)
        return made.chats.create(model=GEMINI).send_message("What is the plan?")

    def functions(standin: StandIn) -> Any:
        made = client(standin)
        config = types.GenerateContentConfig(tools=[weather])
        return made.models.generate_content(model=GEMINI, contents="Sun?", config=config)

    def embed(standin: StandIn) -> Any:
        made = client(standin)
        return made.models.embed_content(model="gemini-embedding-2", contents="A plan.")

    async def generate_async(standin: StandIn) -> Any:
        async with client(standin).aio as made:
            return await made.models.generate_content(model=GEMINI, contents="The plan?")

    async def stream_async(standin: StandIn) -> Any:
        async with client(standin).aio as made:
            stream = await made.models.generate_content_stream(model=GEMINI, contents="Now?")
            return [chunk async for chunk in stream]

    async def error_async(standin: StandIn) -> Any:
        async with client(standin).aio as made:
            return await made.models.generate_content(model=f"{GEMINI}-400", contents="What?")

    return {
        "generate": generate,
        "generate, stream": stream,
        "generate, stream left": stream_left,
        "generate, error": error,
        "generate, stream, error": stream_error,
        "chat": chat,
        "generate, functions": functions,
        "embed": embed,
        "generate, async": _once(generate_async),
        "generate, async stream": _once(stream_async),
        "generate, async error": _once(error_async),
    }


_PROGRAMS: Mapping[str, Callable[[], dict[str, Program]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "google": _google,
}
