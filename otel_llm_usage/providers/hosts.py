"""Which host is whose: provider name, price list and platform, from where a request goes."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..records import NOTHING


class Host(NamedTuple):
    """Who answers: `provider` and `platform` as in `Request`, `vendor` as in the price table."""

    provider: str
    vendor: str
    platform: str


OPENAI = Host("openai", "openai", "openai-api")
AZURE = Host("azure.ai.openai", "openai", "azure")
AZURE_INFERENCE = Host("azure.ai.inference", "azure", "azure")
ANTHROPIC = Host("anthropic", "anthropic", "claude-api")
BEDROCK = Host("aws.bedrock", "anthropic", "bedrock")
GEMINI = Host("gcp.gemini", "google", "gemini-api")
VERTEX = Host("gcp.vertex_ai", "google", "vertex")


def _own(name: str, vendor: str | None = None) -> Host:
    return Host(name, vendor or name, vendor or name)


NAMED: Mapping[str, Host] = {
    "openai": OPENAI,
    "azure": AZURE,
    "azure.ai.openai": AZURE,
    "az.ai.openai": AZURE,
    "azure.ai.inference": AZURE_INFERENCE,
    "anthropic": ANTHROPIC,
    "bedrock": BEDROCK,
    "aws": Host("aws.bedrock", "aws", "bedrock"),
    "aws.bedrock": BEDROCK,
    "google": GEMINI,
    "gemini": GEMINI,
    "google.genai": GEMINI,
    "gcp.gemini": GEMINI,
    "gcp.gen_ai": GEMINI,
    "vertex": VERTEX,
    "vertexai": VERTEX,
    "vertex_ai": VERTEX,
    "google-vertex": VERTEX,
    "gcp.vertex_ai": VERTEX,
    "groq": _own("groq"),
    "deepseek": _own("deepseek"),
    "mistral": _own("mistral_ai", "mistral"),
    "mistral_ai": _own("mistral_ai", "mistral"),
    "perplexity": _own("perplexity"),
    "xai": _own("x_ai", "x-ai"),
    "x-ai": _own("x_ai", "x-ai"),
    "x_ai": _own("x_ai", "x-ai"),
    "openrouter": _own("openrouter"),
    "together": _own("together"),
    "fireworks": _own("fireworks"),
    "cerebras": _own("cerebras"),
    "huggingface": _own("huggingface"),
    "databricks": _own("databricks"),
    "alibaba": _own("alibaba"),
    "cohere": _own("cohere"),
    "moonshot": _own("moonshot_ai", "moonshotai"),
    "moonshotai": _own("moonshot_ai", "moonshotai"),
    "moonshot_ai": _own("moonshot_ai", "moonshotai"),
    "voyage": _own("voyageai"),
    "voyageai": _own("voyageai"),
    "novita": _own("novita"),
    "minimax": _own("minimax"),
    "zai": _own("zai"),
    "ovhcloud": _own("ovhcloud"),
    "baseten": _own("baseten"),
    "cloudflare": _own("cloudflare"),
    "avian": _own("avian"),
    "ibm.watsonx.ai": _own("ibm.watsonx.ai"),
}
"""Every name that a provider goes by: semantic conventions, price table, everyday names."""

_SUFFIXES: Mapping[str, str] = {
    "api.openai.com": "openai",
    "openai.azure.com": "azure",
    "cognitiveservices.azure.com": "azure",
    "services.ai.azure.com": "azure",
    "models.ai.azure.com": "azure.ai.inference",
    "inference.ai.azure.com": "azure.ai.inference",
    "api.anthropic.com": "anthropic",
    "claude.googleapis.com": "vertex",
    "aiplatform.googleapis.com": "vertex",
    "aiplatform.us.rep.googleapis.com": "vertex",
    "aiplatform.eu.rep.googleapis.com": "vertex",
    "generativelanguage.googleapis.com": "gemini",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.mistral.ai": "mistral",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "xai",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.fireworks.ai": "fireworks",
    "api.cerebras.ai": "cerebras",
    "router.huggingface.co": "huggingface",
    "endpoints.huggingface.cloud": "huggingface",
    "azuredatabricks.net": "databricks",
    "cloud.databricks.com": "databricks",
    "gcp.databricks.com": "databricks",
    "dashscope.aliyuncs.com": "alibaba",
    "dashscope-intl.aliyuncs.com": "alibaba",
    "dashscope-us.aliyuncs.com": "alibaba",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.moonshot.ai": "moonshot",
    "api.moonshot.cn": "moonshot",
    "api.voyageai.com": "voyage",
    "api.novita.ai": "novita",
    "api.minimax.io": "minimax",
    "api.z.ai": "zai",
    "endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    "inference.baseten.co": "baseten",
    "api.cloudflare.com": "cloudflare",
    "api.avian.io": "avian",
}

_CLIENTS = (
    ("Azure", "azure"),
    ("Foundry", "azure.ai.inference"),
    ("Bedrock", "bedrock"),
    ("AWS", "bedrock"),
)
"""What the class name of a client says where the host's name says nothing."""

_GOOGLE_CLIENTS = ("vertex", "googlecloud")
_SDKS: Mapping[str, Host] = {"openai": OPENAI, "anthropic": ANTHROPIC, "google": GEMINI}


class Place(NamedTuple):
    """Where a request goes."""

    host: Host
    known: bool
    """Whether the host's name told, rather than the SDK and its client."""
    address: str | None
    port: int | None


def locate(sdk: str, client: str, url: str, path: str) -> Place:
    """Whose host this is. `path` is the whole path; some hosts sell several things.

    A host that is in no table (a gateway, a proxy, a test server) stands for the SDK's own
    provider, or for the platform that the client's class names: that is what it speaks.
    """
    address, port = address_of(url)
    name = _name(address or "")
    if name is None:
        return Place(_of_client(sdk, client), False, address, port)
    return Place(_refined(NAMED[name], sdk, name, path), True, address, port)


class Where(NamedTuple):
    """Where a request goes."""

    path: str
    """As the SDK has it before it is joined with the base URL, without the query."""
    whole: str
    """The path as it is sent."""
    place: Place


@lru_cache(maxsize=2048)
def where(sdk: str, client: str, url: str, base_url: str) -> Where:
    """`url` is a path below `base_url`, or an absolute URL."""
    before = url.partition("?")[0]
    if "://" in before:
        path = path_of(url)
        return Where(path, path, locate(sdk, client, url, path))
    path = "/" + before.lstrip("/")
    whole = path_of(base_url).rstrip("/") + path
    return Where(path, whole, locate(sdk, client, base_url, whole))


def address_of(url: str) -> tuple[str | None, int | None]:
    """Host and port of a URL; `None` where it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None, None
    if parts.hostname is None:
        return None, None
    return parts.hostname, port or (80 if parts.scheme == "http" else 443)


def path_of(url: str) -> str:
    """The path of an absolute URL; empty where it has none."""
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def named(name: str) -> Host:
    """The provider of this name; one that nobody knows stands for itself."""
    return NAMED.get(name.strip().lower()) or _own(name)


_ALSO_PLATFORMS: Mapping[str, str] = {
    "foundry": "azure",
    "azure-openai": "azure",
    "vertex-ai": "vertex",
    "aistudio": "gemini-api",
}
_PLATFORMS = frozenset({host.platform for host in NAMED.values()})


def platform_named(name: str, host: Host) -> str:
    """Our word for a platform, which may be told by the name of its provider.

    Prices differ by platform: a word that nobody knows is an error rather than another list price.
    """
    said = name.strip().lower()
    if said in _PLATFORMS or said == host.platform.lower():
        return said if said in _PLATFORMS else host.platform
    known = NAMED.get(said)
    found = known.platform if known is not None else _ALSO_PLATFORMS.get(said)
    if found is None:
        raise ConfigurationError(
            f"platform={name!r} is not known: leave it out, or say one of "
            f"{', '.join(sorted(_PLATFORMS))}"
        )
    return found


def _name(address: str) -> str | None:
    labels = address.lower().rstrip(".").split(".")
    for start in range(max(0, len(labels) - 1)):
        found = _SUFFIXES.get(".".join(labels[start:]))
        if found is not None:
            return found
    if labels[-1] in ("com", "aws", "cn") and any(part.startswith("bedrock") for part in labels):
        return "bedrock"
    if labels[-2:] == ["googleapis", "com"] and labels[0].endswith("-aiplatform"):
        return "vertex"
    if labels[0].startswith("aws-external-anthropic") and labels[-1] == "aws":
        return "bedrock"
    return None


def _refined(host: Host, sdk: str, name: str, path: str) -> Host:
    if sdk == "anthropic" and name in ("azure", "vertex"):
        sold = AZURE_INFERENCE if name == "azure" else host
        return sold._replace(vendor="anthropic")
    if name == "bedrock":
        return host if sdk == "anthropic" else NAMED["aws"]
    if name == "azure" and ("/models/" in path or path.startswith("models/")):
        return AZURE_INFERENCE
    if name == "vertex" and "/publishers/openai" in path:
        return host._replace(vendor="openai")
    if name == "huggingface":
        reseller = path.lstrip("/").split("/", 1)[0]
        if reseller and reseller != "v1":
            return host._replace(vendor=f"huggingface_{reseller}")
    return host


def _of_client(sdk: str, client: str) -> Host:
    own = _SDKS.get(sdk) or _own(sdk)
    if any(mark in client.lower() for mark in _GOOGLE_CLIENTS):
        return VERTEX._replace(vendor=own.vendor)
    for mark, name in _CLIENTS:
        if mark in client:
            host = NAMED[name]
            if name == "bedrock" and sdk == "openai":
                return NAMED["aws"]
            return host._replace(vendor=own.vendor)
    return own


def overridden(overrides: Mapping[str, str] | None, place: Place) -> Place:
    """The place, if the user says whose host this is: `{"llm.corp.example": "groq"}`."""
    for key in (place.address, f"{place.address}:{place.port}"):
        said = (overrides or NOTHING).get(key) if key else None
        if said:
            return place._replace(host=named(said), known=True)
    return place
