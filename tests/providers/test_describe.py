"""What a request asks for, by URL, client and body."""

import pytest

from otel_llm_usage import providers

OPENAI = "https://api.openai.com/v1"
GEMINI = "https://generativelanguage.googleapis.com/"
VERTEX = "https://europe-west4-aiplatform.googleapis.com/"


def ask(sdk, url, body=None, base_url=OPENAI, **more):
    return providers.describe(sdk, "post", url, body or {}, base_url=base_url, **more)


BILLED = [
    ("openai", OPENAI, "/chat/completions", "chat", "chat.completions"),
    ("openai", OPENAI, "/deployments/prod/chat/completions", "chat", "chat.completions"),
    ("openai", OPENAI, "/completions", "text_completion", "completions"),
    ("openai", OPENAI, "/responses", "chat", "responses"),
    ("openai", OPENAI, "/responses?beta=true", "chat", "responses"),
    ("openai", OPENAI, "/openai/v1/responses", "chat", "responses"),
    ("openai", OPENAI, "/responses/compact", "chat", "responses"),
    ("openai", OPENAI, "/embeddings", "embeddings", "embeddings"),
    ("openai", OPENAI, "/images/generations", "generate_content", "images"),
    ("openai", OPENAI, "/images/edits", "generate_content", "images"),
    ("openai", OPENAI, "/audio/transcriptions", "generate_content", "audio.transcriptions"),
    ("openai", OPENAI, "/audio/translations", "generate_content", "audio.translations"),
    ("openai", OPENAI, "/audio/speech", "generate_content", "audio.speech"),
    (
        "openai",
        OPENAI,
        "https://api.groq.com/openai/v1/chat/completions",
        "chat",
        "chat.completions",
    ),
    ("anthropic", "https://api.anthropic.com", "/v1/messages", "chat", "messages"),
    ("anthropic", "https://api.anthropic.com", "/v1/messages?beta=true", "chat", "messages"),
    ("anthropic", "https://x", "/model/anthropic.claude-v2%3A1/invoke", "chat", "messages"),
    ("anthropic", "https://x", "/model/m/invoke-with-response-stream", "chat", "messages"),
    (
        "anthropic",
        VERTEX,
        "/projects/p/locations/l/publishers/anthropic/models/claude-x@1:rawPredict",
        "chat",
        "messages",
    ),
    ("google", GEMINI, "models/m:generateContent", "generate_content", "generate_content"),
    (
        "google",
        GEMINI,
        "models/m:streamGenerateContent?alt=sse",
        "generate_content",
        "generate_content",
    ),
    ("google", GEMINI, "tunedModels/m:generateContent", "generate_content", "generate_content"),
    ("google", VERTEX, "publishers/google/models/m:embedContent", "embeddings", "embed_content"),
    ("google", GEMINI, "models/m:batchEmbedContents", "embeddings", "embed_content"),
    ("google", VERTEX, "publishers/google/models/text-e:predict", "embeddings", "embed_content"),
    (
        "google",
        VERTEX,
        "publishers/google/models/imagen-4:predict",
        "generate_content",
        "generate_images",
    ),
    ("google", GEMINI, "cachedContents", "generate_content", "caches.create"),
    ("google", GEMINI, "interactions", "generate_content", "interactions"),
]


@pytest.mark.parametrize(("sdk", "base_url", "url", "operation", "endpoint"), BILLED)
def test_a_billed_call_is_described(sdk, base_url, url, operation, endpoint):
    request = ask(sdk, url, base_url=base_url)
    assert request is not None
    assert (request.operation, request.endpoint) == (operation, endpoint)


FREE = [
    ("openai", "post", "/moderations"),
    ("openai", "post", "/responses/input_tokens"),
    ("openai", "post", "/responses/resp_1/cancel"),
    ("openai", "get", "/responses/resp_1"),
    ("openai", "get", "/chat/completions"),
    ("openai", "post", "/chat/completions/chatcmpl-1"),
    ("openai", "get", "/models"),
    ("openai", "post", "/files"),
    ("openai", "post", "/batches"),
    ("openai", "post", "/conversations"),
    ("openai", "post", "/vector_stores/vs_1/search"),
    ("anthropic", "post", "/v1/messages/count_tokens"),
    ("anthropic", "post", "/v1/messages/count_tokens?beta=true"),
    ("anthropic", "post", "/v1/messages/batches"),
    ("anthropic", "get", "/v1/models"),
    (
        "anthropic",
        "post",
        "/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
    ),
    ("google", "post", "models/m:countTokens"),
    ("google", "post", "publishers/google/models/m:computeTokens"),
    ("google", "get", "models/m"),
    ("google", "get", "cachedContents"),
    ("google", "patch", "cachedContents/abc"),
    ("google", "post", "models/m:batchGenerateContent"),
    ("google", "post", "upload/v1beta/files"),
]


@pytest.mark.parametrize(("sdk", "method", "url"), FREE)
def test_what_is_free_or_repeats_an_earlier_bill_is_none_of_ours(sdk, method, url):
    assert providers.describe(sdk, method, url, {}, base_url="http://127.0.0.1:1") is None


HOSTS = [
    ("openai", "https://api.openai.com/v1", "", ("openai", "openai", "openai-api")),
    ("openai", "https://eu.api.openai.com/v1", "", ("openai", "openai", "openai-api")),
    ("openai", "https://x.openai.azure.com/openai", "", ("azure.ai.openai", "openai", "azure")),
    (
        "openai",
        "https://x.services.ai.azure.com/models",
        "",
        ("azure.ai.inference", "azure", "azure"),
    ),
    (
        "openai",
        "https://x.services.ai.azure.com/openai/v1",
        "",
        ("azure.ai.openai", "openai", "azure"),
    ),
    ("openai", "https://x.cognitiveservices.azure.com", "", ("azure.ai.openai", "openai", "azure")),
    (
        "openai",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "",
        ("gcp.gemini", "google", "gemini-api"),
    ),
    ("openai", "https://api.groq.com/openai/v1", "", ("groq", "groq", "groq")),
    ("openai", "https://api.deepseek.com", "", ("deepseek", "deepseek", "deepseek")),
    ("openai", "https://api.mistral.ai/v1", "", ("mistral_ai", "mistral", "mistral")),
    ("openai", "https://api.perplexity.ai", "", ("perplexity", "perplexity", "perplexity")),
    ("openai", "https://api.x.ai/v1", "", ("x_ai", "x-ai", "x-ai")),
    ("openai", "https://openrouter.ai/api/v1", "", ("openrouter", "openrouter", "openrouter")),
    ("openai", "https://api.together.xyz/v1", "", ("together", "together", "together")),
    ("openai", "https://api.cerebras.ai/v1", "", ("cerebras", "cerebras", "cerebras")),
    (
        "openai",
        "https://router.huggingface.co/novita/v3/openai",
        "",
        ("huggingface", "huggingface_novita", "huggingface"),
    ),
    (
        "openai",
        "https://adb-1.2.azuredatabricks.net/serving-endpoints",
        "",
        ("databricks", "databricks", "databricks"),
    ),
    ("openai", "https://dashscope-intl.aliyuncs.com/x", "", ("alibaba", "alibaba", "alibaba")),
    (
        "openai",
        "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1",
        "",
        ("aws.bedrock", "aws", "bedrock"),
    ),
    ("openai", "http://localhost:11434/v1", "", ("openai", "openai", "openai-api")),
    ("openai", "https://llm.corp.example/v1", "OpenAI", ("openai", "openai", "openai-api")),
    (
        "openai",
        "http://127.0.0.1:9/openai",
        "AsyncAzureOpenAI",
        ("azure.ai.openai", "openai", "azure"),
    ),
    ("anthropic", "https://api.anthropic.com", "", ("anthropic", "anthropic", "claude-api")),
    ("anthropic", "http://127.0.0.1:9", "Anthropic", ("anthropic", "anthropic", "claude-api")),
    (
        "anthropic",
        "http://127.0.0.1:9",
        "AsyncAnthropicBedrock",
        ("aws.bedrock", "anthropic", "bedrock"),
    ),
    (
        "anthropic",
        "http://127.0.0.1:9",
        "AnthropicVertex",
        ("gcp.vertex_ai", "anthropic", "vertex"),
    ),
    (
        "anthropic",
        "http://127.0.0.1:9",
        "AnthropicFoundry",
        ("azure.ai.inference", "anthropic", "azure"),
    ),
    (
        "anthropic",
        "https://bedrock-runtime.eu-west-1.amazonaws.com",
        "",
        ("aws.bedrock", "anthropic", "bedrock"),
    ),
    (
        "anthropic",
        "https://aiplatform.googleapis.com/v1",
        "",
        ("gcp.vertex_ai", "anthropic", "vertex"),
    ),
    (
        "anthropic",
        "https://x.services.ai.azure.com/anthropic/",
        "",
        ("azure.ai.inference", "anthropic", "azure"),
    ),
]


@pytest.mark.parametrize(("sdk", "base_url", "client", "whose"), HOSTS)
def test_a_host_tells_provider_price_list_and_platform(sdk, base_url, client, whose):
    url = "/chat/completions" if sdk == "openai" else "/v1/messages"
    request = ask(sdk, url, base_url=base_url, client=client)
    assert request is not None
    assert request[:3] == whose


@pytest.mark.parametrize(
    "lookalike",
    [
        "https://api.openai.com.evil.example/v1",
        "https://notapi.groq.com.example/v1",
        "https://myapi.x.ai.example",
    ],
)
def test_a_host_that_only_looks_like_another_is_not_it(lookalike):
    request = ask("openai", "/chat/completions", base_url=lookalike)
    assert request is not None
    assert request.provider == "openai"  # the SDK's own, as for any gateway


def test_the_user_can_say_whose_host_it_is():
    hosts = {"llm.corp.example": "groq", "127.0.0.1:9001": "azure"}
    first = ask("openai", "/chat/completions", base_url="https://llm.corp.example", hosts=hosts)
    second = ask("openai", "/chat/completions", base_url="http://127.0.0.1:9001", hosts=hosts)
    third = ask("openai", "/chat/completions", base_url="http://127.0.0.1:9002", hosts=hosts)
    assert [request[:3] for request in (first, second, third)] == [
        ("groq", "groq", "groq"),
        ("azure.ai.openai", "openai", "azure"),
        ("openai", "openai", "openai-api"),
    ]


@pytest.mark.parametrize(
    ("sdk", "url", "body", "model"),
    [
        ("openai", "/chat/completions", {"model": "gpt-4o"}, "gpt-4o"),
        ("openai", "/deployments/prod%20eu/chat/completions", {}, "prod eu"),
        ("google", "models/gemini-2.5-pro:generateContent", {}, "gemini-2.5-pro"),
        ("google", "publishers/google/models/g:generateContent", {}, "g"),
        ("google", "projects/p/locations/l/publishers/google/models/g:generateContent", {}, "g"),
        ("google", "tunedModels/mine:generateContent", {}, "tunedModels/mine"),
        ("google", "cachedContents", {"model": "models/gemini-2.5-pro"}, "gemini-2.5-pro"),
        ("anthropic", "/model/us.anthropic.claude-x-v1:0/invoke", {}, "us.anthropic.claude-x-v1:0"),
        ("anthropic", "/p/models/claude-x@2025:streamRawPredict", {}, "claude-x@2025"),
        ("openai", "/chat/completions", {"model": 7}, None),
    ],
)
def test_the_model_comes_from_the_body_or_from_the_url(sdk, url, body, model):
    request = ask(sdk, url, body)
    assert request is not None
    assert request.model == model


@pytest.mark.parametrize(
    ("sdk", "url", "body", "stream"),
    [
        ("openai", "/chat/completions", {"stream": True}, True),
        ("openai", "/chat/completions", {"stream": None}, False),
        ("anthropic", "/model/m/invoke-with-response-stream", {}, True),
        ("anthropic", "/x/models/m:streamRawPredict", {}, True),
        ("google", "models/m:streamGenerateContent?alt=sse", {}, True),
        ("google", "models/m:generateContent", {}, False),
    ],
)
def test_a_stream_is_known_by_body_or_url(sdk, url, body, stream):
    request = ask(sdk, url, body)
    assert request is not None
    assert request.stream is stream


@pytest.mark.parametrize(
    ("sdk", "base_url", "url", "region"),
    [
        ("google", VERTEX, "publishers/google/models/m:generateContent", "europe-west4"),
        (
            "google",
            "https://aiplatform.googleapis.com/",
            "publishers/google/models/m:generateContent",
            "global",
        ),
        (
            "google",
            "https://aiplatform.us.rep.googleapis.com/",
            "publishers/google/models/m:generateContent",
            "us",
        ),
        (
            "anthropic",
            VERTEX,
            "/projects/p/locations/us-east5/publishers/anthropic/models/m:rawPredict",
            "us-east5",
        ),
        (
            "anthropic",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            "/model/eu.anthropic.claude-x/invoke",
            "eu",
        ),
        (
            "anthropic",
            "https://bedrock-runtime.eu-west-1.amazonaws.com",
            "/model/anthropic.claude-x/invoke",
            "eu-west-1",
        ),
        ("google", GEMINI, "models/m:generateContent", None),
    ],
)
def test_the_region_is_known_where_the_price_depends_on_it(sdk, base_url, url, region):
    request = ask(sdk, url, base_url=base_url)
    assert request is not None
    assert request.region == region


@pytest.mark.parametrize(
    ("sdk", "body", "tier"),
    [
        ("openai", {"service_tier": "flex"}, "flex"),
        ("openai", {"service_tier": "auto"}, None),
        ("openai", {"service_tier": "default"}, "standard"),
        ("openai", {"service_tier": "fast"}, "priority"),
        ("openai", {"service_tier": "ultrafast"}, "ultrafast"),
        ("openai", {"service_tier": "new-one"}, "new-one"),
        ("openai", {"service_tier": 3}, None),
        ("anthropic", {"speed": "fast"}, "fast"),
        ("anthropic", {"speed": "standard"}, None),
        ("anthropic", {"service_tier": "auto"}, None),
        ("google", {"serviceTier": "priority"}, "priority"),
        ("google", {"service_tier": "FLEX"}, "flex"),
        ("google", {}, None),
    ],
)
def test_the_tier_asked_for_is_in_our_words(sdk, body, tier):
    url = {"openai": "/responses", "anthropic": "/v1/messages", "google": "m:generateContent"}[sdk]
    request = ask(sdk, url, body)
    assert request is not None
    assert request.tier == tier


def test_a_vertex_tier_may_be_asked_for_in_a_header():
    headers = {"X-Vertex-AI-LLM-Shared-Request-Type": "flex"}
    request = ask("google", "m:generateContent", base_url=VERTEX, headers=headers)
    assert request is not None
    assert request.tier == "flex"


@pytest.mark.parametrize(
    ("sdk", "url", "body", "hints"),
    [
        (
            "openai",
            "/responses",
            {"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]},
            {"tools": ("web_search",)},
        ),
        ("openai", "/responses", {"tools": [{"type": "function"}]}, {}),
        ("openai", "/responses", {"background": True}, {"background": True}),
        ("openai", "/images/generations", {"n": 3, "prompt": "secret"}, {"n": 3}),
        ("openai", "/audio/speech", {"input": "say this"}, {"characters": 8}),
        (
            "anthropic",
            "/v1/messages",
            {"tools": [{"type": "web_search_20250305"}]},
            {"tools": ("web_search_20250305",)},
        ),
        (
            "google",
            "m:generateContent",
            {"tools": [{"googleSearch": {}}, {"functionDeclarations": []}]},
            {"tools": ("google_search",)},
        ),
        (
            "google",
            "m:generateContent",
            {"tools": [{"url_context": {}}]},
            {"tools": ("url_context",)},
        ),
        ("google", "cachedContents", {"ttl": "7200s", "contents": ["secret"]}, {"ttl": "7200s"}),
        ("openai", "/chat/completions", {"tools": "nonsense"}, {}),
        ("openai", "/chat/completions", {"tools": [7, None]}, {}),
    ],
)
def test_hints_hold_what_the_bill_depends_on_and_no_content(sdk, url, body, hints):
    request = ask(sdk, url, body)
    assert request is not None
    assert dict(request.hints) == hints


def test_betas_come_from_the_header_or_the_body():
    header = ask("anthropic", "/v1/messages", headers={"Anthropic-Beta": "a-1, b-2"})
    body = ask("anthropic", "/model/m/invoke", {"anthropic_beta": ["a-1"]})
    assert header is not None
    assert body is not None
    assert header.hints["betas"] == ("a-1", "b-2")
    assert body.hints["betas"] == ("a-1",)


@pytest.mark.parametrize("body", [None, b"--boundary", "text", 3, []])
def test_a_body_that_is_no_mapping_is_described_by_its_url(body):
    request = providers.describe(
        "openai", "POST", "/deployments/d/audio/transcriptions", body, base_url=OPENAI
    )
    assert request is not None
    assert request.model == "d"


@pytest.mark.parametrize("base_url", ["", "http://[broken", "not a url", "http://host:port"])
def test_a_strange_base_url_leaves_the_address_unknown(base_url):
    request = ask("openai", "/chat/completions", base_url=base_url)
    assert request is not None
    assert (request.provider, request.server_address, request.server_port) == ("openai", None, None)
