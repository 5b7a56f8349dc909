"""Which packages, and what they are installed with; the pins of each stand in `pins/`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

SDKS = ("openai", "anthropic", "google-genai", "aiohttp")
TOOLS = ("hypothesis", "pytest", "pytest-asyncio")


class Environment(NamedTuple):
    """One environment: packages that go together, and the checks that are run there."""

    name: str
    module: str
    packages: tuple[str, ...]
    """The first one is the package that the table names; a `<` keeps what it can't work with away."""

    @property
    def pins(self) -> Path:
        return HERE / "pins" / f"{self.name}.txt"

    @property
    def requirements(self) -> Sequence[str]:
        """What is asked for when the pins are made anew."""
        return (*self.packages, *SDKS, *TOOLS)


ENVIRONMENTS = (
    Environment("anthropic", "beside_anthropic", ("anthropic",)),
    Environment(
        "official",
        "beside_official",
        (
            "opentelemetry-instrumentation-genai-openai",
            "opentelemetry-instrumentation-genai-anthropic",
            "opentelemetry-instrumentation-google-genai",
            "google-genai<3",
        ),
    ),
    Environment(
        "openai-v2",
        "beside_openai_v2",
        ("opentelemetry-instrumentation-openai-v2", "opentelemetry-util-genai<1", "httpx"),
    ),
    Environment(
        "openinference",
        "beside_openinference",
        (
            "openinference-instrumentation-openai",
            "openinference-instrumentation-anthropic",
            "openinference-instrumentation-google-genai",
        ),
    ),
    Environment(
        "traceloop",
        "beside_traceloop",
        (
            "opentelemetry-instrumentation-openai",
            "opentelemetry-instrumentation-anthropic",
            "opentelemetry-instrumentation-google-generativeai",
        ),
    ),
    Environment("openlit", "beside_openlit", ("openlit",)),
    Environment(
        "logfire",
        "beside_logfire",
        ("logfire", "opentelemetry-instrumentation-google-genai", "google-genai<3"),
    ),
    Environment("threading", "beside_threading", ("opentelemetry-instrumentation-threading",)),
    Environment(
        "langchain",
        "under_langchain",
        ("langchain", "langchain-openai", "langchain-anthropic", "langchain-google-genai"),
    ),
    Environment(
        "llamaindex",
        "under_llamaindex",
        (
            "llama-index-core",
            "llama-index-llms-openai",
            "llama-index-llms-anthropic",
            "llama-index-llms-google-genai",
            "anthropic<1",
        ),
    ),
    Environment("litellm", "under_litellm", ("litellm<1.107", "mcp")),
    Environment("pydantic-ai", "under_pydantic_ai", ("pydantic-ai-slim[openai,anthropic,google]",)),
    Environment("instructor", "under_instructor", ("instructor[anthropic,google-genai]",)),
    Environment("google-adk", "under_google_adk", ("google-adk",)),
    Environment("openai-agents", "under_openai_agents", ("openai-agents",)),
)


def chosen(only: str) -> list[Environment]:
    """Those that `only` names (`logfire,litellm`), or all."""
    names = set(filter(None, only.split(",")))
    unknown = names - {one.name for one in ENVIRONMENTS}
    if unknown:
        known = ", ".join(one.name for one in ENVIRONMENTS)
        raise SystemExit(
            f"no environment is called {', '.join(sorted(unknown))}; there are {known}"
        )
    return [one for one in ENVIRONMENTS if not names or one.name in names]
