"""What has no price is loud: never zero, never a guess, always with a reason."""

import logging
from decimal import Decimal

import pytest

from otel_llm_usage.prices import Catalogue, load_catalogue
from otel_llm_usage.records import Reading, Request, Usage

from .conftest import Ask, asking, noon

LOOK_ALIKES = [
    ("openai", "my-gpt-4-proxy"),
    ("openai", "gpt-4-proxy"),
    ("openai", "gpt-4o-turbo"),
    ("openai", "gpt-5-turbo"),
    ("openai", "gpt-6.2-sol"),
    ("openai", "gpt-5-nano-plus"),
    ("openai", "o3-max"),
    ("openai", "ft:gpt-4-0613:acme::x"),
    ("openai", "ft:gpt-5-2025-08-07:acme::x"),
    ("openai", "gpt-4o-2025-01-01"),
    ("openai", "gpt-3.5-turbo-2024-01-01"),
    ("openai", "dall-e-3"),
    ("google", "gemini-2.5-flash-8b"),
    ("google", "gemini-2.5-pro-max"),
    ("google", "gemini-3.8-flash-cyber"),
    ("google", "gemini-3.8-flash-lite"),
    ("google", "gemini-9"),
    ("google", "tunedModels/gemini-2.5-flash-mine"),
    ("google", "projects/p/locations/us-central1/endpoints/123"),
    ("anthropic", "claude-opus-4-55"),
    ("anthropic", "claude-3"),
    ("anthropic", "claude-sonnet-5-6"),
    ("anthropic", "claude-haiku-4-5-mini"),
    ("nobody", "gpt-4o"),
    ("openai-proxy", "gpt-4o"),
    ("Azure OpenAI", "gpt-4o"),
    ("not-anthropic", "claude-opus-5"),
    ("vertexai-x", "claude-opus-5"),
    ("openai", "text-moderation-foo"),
    ("openai", "ft:gpt-3.5-turbo-foo:acme"),
    ("google", "gemma-3-99b-foo"),
]


@pytest.mark.parametrize(("vendor", "model"), LOOK_ALIKES)
def test_a_look_alike_is_unknown(ask: Ask, vendor: str, model: str) -> None:
    cost = ask(model, vendor=vendor, input=1000, output=10)
    assert (cost.status, cost.total) == ("unpriced", None)
    assert cost.reasons == ("unknown_model",)


@pytest.mark.parametrize(
    "model",
    ["anthropic.claude-opus-4-55-v1:0", "us.anthropic.claude-sonnet-4-5-foo-v1:0"],
)
def test_a_look_alike_on_bedrock_is_unknown(ask: Ask, model: str) -> None:
    assert ask(model, platform="bedrock", input=1000).reasons == ("unknown_model",)


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ("us-gov.anthropic.claude-opus-4-6-v1", "5.5"),
        ("us-gov.anthropic.claude-opus-5", "6"),
        ("us-gov.anthropic.claude-3-5-sonnet-20240620-v1:0", "3"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "3"),
        ("global.anthropic.claude-opus-4-6-v1", "5"),
        ("kr.anthropic.claude-opus-4-6-v1", None),
        ("kr.anthropic.claude-opus-4-1-20250805-v1:0", "15"),
    ],
)
def test_a_region_of_bedrock_that_nobody_lists_is_unknown_since_claude_4_5(
    ask: Ask, model: str, rate: str | None
) -> None:
    cost = ask(model, platform="bedrock", input=100_000)
    assert cost.total == (Decimal(rate) / 10 if rate else None)
    assert cost.reasons == (() if rate else ("unknown_region",))


@pytest.mark.parametrize(("region", "known"), [("eu-west-3", True), ("mars-1", False)])
def test_a_region_of_aws_is_known_or_loud(ask: Ask, region: str, known: bool) -> None:
    cost = ask("claude-opus-4-6", platform="bedrock", region=region, input=1)
    assert cost.reasons == (() if known else ("unknown_region",))


@pytest.mark.parametrize(
    "model",
    [
        "gemini-2.5-flash-native-audio-preview-12-2025",
        "gemini-2.5-flash-image",
        "gemini-3-pro-image-preview",
        "gemini-2.5-computer-use-preview-10-2025",
        "gemini-2.5-flash-preview-tts",
    ],
)
@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_a_tier_of_the_family_is_not_one_of_its_every_member(
    ask: Ask, model: str, tier: str
) -> None:
    assert ask(model, tier=tier, input=1000).reasons == ("unknown_tier",)


def test_a_tuned_model_that_answers_as_its_base_is_not_priced_as_its_base(ask: Ask) -> None:
    cost = ask("gemini-2.5-flash", requested="tunedModels/mine", input=1000)
    assert cost.reasons == ("unknown_model",)


def test_an_unknown_snapshot_of_a_model_with_one_price_is_priced_and_said(ask: Ask) -> None:
    cost = ask("gpt-5.2-2026-09-09", input=1_000_000)
    assert cost.total is not None
    assert "gpt-5.2" in cost.assumed[0]


def test_the_model_that_answered_decides(ask: Ask) -> None:
    assert ask("gpt-4o-2024-08-06", requested="chat-prod", platform="azure", input=1).total
    assert ask("gpt-9", requested="gpt-4o", input=1).reasons == ("unknown_model",)


def test_a_deployment_name_alone_is_unknown(ask: Ask) -> None:
    assert ask("chat-prod", platform="azure", input=1).reasons == ("unknown_model",)


@pytest.mark.parametrize("tier", ["turbo", "offpeak", "ultrafast"])
def test_an_unknown_tier_is_not_the_standard_one(ask: Ask, tier: str) -> None:
    cost = ask("gpt-4o", tier=tier, input=1000)
    assert (cost.total, cost.reasons) == (None, ("unknown_tier",))


def test_fast_mode_of_a_model_without_one_has_no_price(ask: Ask) -> None:
    assert ask("claude-sonnet-5", tier="fast", input=1).reasons == ("unknown_tier",)


def test_priority_is_not_sold_for_long_prompts(ask: Ask) -> None:
    assert ask("gpt-5.5", tier="priority", input=272_000).total is not None
    long = ask("gpt-5.5", tier="priority", input=272_001, output=1)
    assert long.reasons == ("no_rate:input", "no_rate:output")


def test_an_unknown_region_is_not_the_global_one(ask: Ask) -> None:
    cost = ask("claude-opus-5", region="eu", input=1000)
    assert (cost.total, cost.reasons) == (None, ("unknown_region",))


def test_a_kind_without_a_rate_leaves_a_lower_bound(ask: Ask) -> None:
    cost = ask("gpt-4.1", input=1_000_000, input_audio=7)
    assert (cost.status, cost.total) == ("partial", None)
    assert cost.reasons == ("no_rate:input_audio",)
    assert cost.known == 2


def test_audio_is_never_text_where_audio_has_its_price(ask: Ask) -> None:
    assert ask("gpt-4o", input_audio=7).reasons == ("no_rate:input_audio",)
    assert ask("gpt-4o-mini", output_audio=7).reasons == ("no_rate:output_audio",)
    assert ask("gpt-4o-audio-preview", cache_read_audio=7).reasons == ("no_rate:cache_read_audio",)


def test_cached_input_in_a_batch_of_an_older_model_has_no_listed_rate(ask: Ask) -> None:
    cost = ask("gpt-4.1", endpoint="batches", input=10, cache_read=5)
    assert cost.reasons == ("no_rate:cache_read",)


def test_a_cache_read_of_a_model_without_a_cache_price_is_loud(ask: Ask) -> None:
    assert ask("gpt-4o-2024-05-13", cache_read=5).reasons == ("no_rate:cache_read",)


def test_a_fee_nobody_listed_is_loud(ask: Ask) -> None:
    cost = ask("gpt-4o", input=1, teleportation=1)
    assert cost.reasons == ("no_rate:teleportation",)


def test_no_usage_is_unknown_and_zero_usage_is_zero(ask: Ask) -> None:
    assert ask("gpt-4o").reasons == ("no_usage",)
    assert ask("gpt-4o", final=False).reasons == ("stream_aborted",)
    nothing = ask("gpt-4o", input=0, output=0)
    assert (nothing.total, nothing.reasons) == (0, ())
    assert ask("gpt-4o", input=None).reasons == ("no_usage",)


def test_unreadable_usage_has_no_known_cost(ask: Ask) -> None:
    cost = ask("gpt-4o", input=1_000_000, notes=("bad_usage:completion_tokens",))
    assert (cost.status, cost.total, cost.known) == ("partial", None, 2.5)
    assert cost.reasons == ("bad_usage",)


def test_a_note_that_only_marks_a_contradiction_keeps_the_price(ask: Ask) -> None:
    assert ask("gpt-4o", input=1, notes=("total_mismatch:2",)).total is not None


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("claude-opus-4-8", "priority"),
        ("gpt-4.1", "scale"),
        ("gemini-2.5-pro", "provisioned"),
        ("some-deployment", "provisioned"),
    ],
)
def test_what_is_paid_in_advance_costs_nothing_more(ask: Ask, model: str, tier: str) -> None:
    cost = ask(model, tier=tier, input=1000)
    assert (cost.status, cost.total) == ("prepaid", 0)


def test_fees_are_charged_on_prepaid_capacity(ask: Ask) -> None:
    cost = ask("claude-opus-4-8", tier="priority", input=1, web_search=2)
    assert (cost.status, str(cost.total)) == ("priced", "0.02")
    assert "the tokens are paid in advance" in cost.assumed


def test_fees_of_an_unknown_model_are_not_prepaid(ask: Ask) -> None:
    cost = ask("claude-zzz", tier="priority", input=1, web_search=3)
    assert (cost.status, cost.total, cost.reasons) == ("partial", None, ("unknown_model",))
    assert str(cost.known) == "0.03"


@pytest.mark.parametrize("platform", ["bedrock", "vertex"])
def test_priority_is_prepaid_on_anthropics_own_api_alone(ask: Ask, platform: str) -> None:
    cost = ask("claude-sonnet-4-5", tier="priority", platform=platform, input=1000)
    assert (cost.total, cost.reasons) == (None, ("unknown_tier",))


@pytest.mark.parametrize("model", ["gpt-4-turbo", "gpt-4.5-preview", "chatgpt-4o-latest"])
def test_models_that_do_not_reason_pay_the_dearer_search(ask: Ask, model: str) -> None:
    assert str(ask(model, input=0, web_search_preview=1).total) == "0.025"


def test_what_is_free_is_free_whichever_side_is_told(catalogue: Catalogue) -> None:
    request = Request("openai", "openai", "openai-api", "chat", "x", "omni-moderation-latest")
    cost = catalogue.price(request, Reading(Usage(input=900)), noon("2026-11-20"))
    assert (cost.status, cost.total) == ("free", 0)


def test_a_cost_says_what_contradicted_itself(ask: Ask) -> None:
    notes = ("total_mismatch:2", "cache_exceeds_input")
    assert ask("gpt-4o", input=1, notes=notes).notes == notes
    assert ask("gpt-9", input=1, notes=notes).notes == notes
    assert ask("gpt-4o", input=1).notes == ()


class TestTiers:
    def test_a_tier_that_was_asked_for_and_not_confirmed_is_standard_at_openai(
        self, ask: Ask
    ) -> None:
        cost = ask("gpt-5", asked_tier="priority", input=1_000_000)
        assert str(cost.total) == "1.25"

    def test_a_tier_that_was_asked_for_holds_where_answers_do_not_tell(self, ask: Ask) -> None:
        cost = ask("gemini-2.5-pro", asked_tier="flex", input=100_000)
        assert str(cost.total) == "0.0625"

    def test_the_answer_wins_over_what_was_asked_for(self, ask: Ask) -> None:
        cost = ask("gemini-2.5-pro", asked_tier="priority", tier="standard", input=100_000)
        assert str(cost.total) == "0.125"

    def test_auto_is_not_a_tier(self, ask: Ask) -> None:
        assert ask("gemini-2.5-pro", asked_tier="auto", input=1).reasons == ()
        assert ask("gpt-5", tier="auto", input=1).reasons == ()


class TestWarnings:
    def test_a_missing_price_is_told_once_with_what_to_paste(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        ask = asking(load_catalogue(stale_after_days=100_000))
        with caplog.at_level(logging.WARNING, "otel_llm_usage"):
            for _ in range(3):
                ask("gpt-9", input=5, cache_read=3)
        (told,) = caplog.messages
        for line in ('model = "gpt-9"', 'input = "…"', 'cache_read = "…"', "[[price]]"):
            assert line in told

    def test_a_missing_fee_has_its_own_stanza(self, caplog: pytest.LogCaptureFixture) -> None:
        ask = asking(load_catalogue(stale_after_days=100_000))
        with caplog.at_level(logging.WARNING, "otel_llm_usage"):
            ask("gpt-4o", input=5, teleportation=3)
        assert "[[fee]]" in caplog.text
        assert 'sku = "teleportation"' in caplog.text
        assert "[[price]]" not in caplog.text

    def test_an_unknown_region_asks_for_a_multiplier(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        ask = asking(load_catalogue(stale_after_days=100_000))
        with caplog.at_level(logging.WARNING, "otel_llm_usage"):
            ask("claude-opus-5", region="eu", input=5)
        assert 'when = { region = "eu" }' in caplog.text

    def test_no_usage_needs_no_price_file(self, caplog: pytest.LogCaptureFixture) -> None:
        ask = asking(load_catalogue(stale_after_days=100_000))
        with caplog.at_level(logging.WARNING, "otel_llm_usage"):
            ask("gpt-4o")
        assert caplog.messages == []

    def test_what_is_remembered_of_unknown_models_is_bounded(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        catalogue = load_catalogue(stale_after_days=100_000)
        ask = asking(catalogue)
        with caplog.at_level(logging.CRITICAL, "otel_llm_usage"):
            for number in range(1200):
                ask(f"unknown-{number}", input=5)
        assert len(catalogue._warned) <= 1001

    def test_an_evil_model_name_cannot_break_the_log(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        ask = asking(load_catalogue(stale_after_days=100_000))
        with caplog.at_level(logging.WARNING, "otel_llm_usage"):
            ask('x"\n[[price]]\nfree = true\x1b[31m' + "y" * 5000, input=5)
        assert "\x1b" not in caplog.text
        assert "\n[[price]]\nfree" not in caplog.text
        assert len(caplog.text) < 2000
