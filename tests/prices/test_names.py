"""Names of models: freed of their platforms, and each its own."""

import pytest

from otel_llm_usage.prices import Catalogue, names
from otel_llm_usage.records import Reading, Request


@pytest.mark.parametrize(
    ("spelled", "platform", "text", "region"),
    [
        ("Models/Gemini-2.5-Flash", "gemini-api", "gemini-2.5-flash", None),
        ("publishers/google/models/gemini-2.5-pro", "vertex", "gemini-2.5-pro", None),
        (
            "projects/p/locations/europe-west1/publishers/anthropic/models/claude-opus-4-1@20250805",
            "vertex",
            "claude-opus-4-1-20250805",
            "europe-west1",
        ),
        ("claude-opus-4-6@default", "vertex", "claude-opus-4-6", None),
        ("us.anthropic.claude-opus-4-6-v1", "bedrock", "claude-opus-4-6", "us"),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", "bedrock", "claude-haiku-4-5-20251001", "eu"),
        ("us-gov.anthropic.claude-opus-5", "bedrock", "claude-opus-5", "us-gov"),
        ("anthropic.claude-v2:1", "bedrock", "claude-v2:1", None),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.anthropic.claude-opus-5",
            "bedrock",
            "claude-opus-5",
            "global",
        ),
        ("us.meta.llama3-1-8b-instruct-v1:0", "bedrock", "meta.llama3-1-8b-instruct-v1:0", "us"),
        ("gpt-4o", "openai-api", "gpt-4o", None),
        (" gpt-4o ", "openai-api", "gpt-4o", None),
        ("us.anthropic.claude-opus-5", "claude-api", "us.anthropic.claude-opus-5", None),
    ],
)  # fmt: skip
def test_a_name_is_freed_of_its_platform(
    spelled: str, platform: str, text: str, region: str | None
) -> None:
    name = names.parse(spelled, platform)
    assert (name.text, name.region) == (text, region)


@pytest.mark.parametrize(
    "spelled",
    ["ft:gpt-4o:a::b", "tunedModels/x", "gpt-4o-mini-2024-07-18.ft-1", "projects/p/endpoints/9"],
)
def test_tuned_models_are_told_by_their_names(spelled: str) -> None:
    assert names.parse(spelled).tuned


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google"])
def test_every_name_of_the_table_is_its_own_model(catalogue: Catalogue, vendor: str) -> None:
    table = catalogue.compiler().base
    for spelled, model in table.names(vendor):
        found = table.find(vendor, spelled)
        assert found is not None, spelled
        assert found.id == model, spelled


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google"])
def test_every_model_of_the_table_has_a_card(catalogue: Catalogue, vendor: str) -> None:
    for _, model in catalogue.compiler().base.names(vendor):
        request = Request(vendor, vendor, "x", "chat", "chat", model=model)
        card = catalogue.card(request, Reading(), 1.8e9)
        assert card.reason == "", model


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "google"])
def test_every_model_of_the_overlay_is_known(catalogue: Catalogue, vendor: str) -> None:
    overlay = catalogue.compiler().layers[-1]
    for entry in (*overlay.prices, *overlay.fees):
        for model in entry.scope.models if entry.scope.provider == vendor else ():
            if "*" in model:
                continue
            platform = entry.scope.platform.replace("*", "")
            request = Request(vendor, vendor, platform, "chat", "chat", model=model)
            card = catalogue.card(request, Reading(), 1.79e9)
            assert card.reason == "", model
