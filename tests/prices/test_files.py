"""The user's price files: read strictly, and what they change."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.prices import load_catalogue

from .conftest import Ask, asking

CONTRACT = """
schema = 1
currency = "USD"

[[price]]
provider = "openai"
model = "ft:gpt-4.1-2025-04-14:acme:*"
valid_from = 2026-01-01
input = "2.00"
cached_input = "0.50"
output = "8.00"
tiers = [{ above = 200000, input = "6.00", output = "18.00" }]
source = "contract 2026-014"
checked_on = 2026-11-20

[[price]]
provider = "google"
model = "gemini-9"
input = "1.00"
output = "4.00"
source = "preview agreement"

[[price]]
provider = "openai"
model = "gpt-4o"
input = "2.00"
source = "contract 2026-014"

[[discount]]
provider = "anthropic"
factor = "0.85"
valid_from = 2026-10-01

[[fee]]
provider = "google"
models = ["gemini-3*"]
sku = "search_grounding_queries"
per_1k = "7"

[[multiplier]]
provider = "anthropic"
platform = "azure"
when = { region = "eu" }
factor = "1.1"

[[alias]]
name = "chat-prod"
model = "gpt-4o-2024-08-06"
"""


@pytest.fixture
def contract(tmp_path: Path) -> Ask:
    file = tmp_path / "prices.toml"
    file.write_text(CONTRACT)
    return asking(load_catalogue([file], stale_after_days=100_000))


class TestWhatAFileChanges:
    def test_a_pattern_prices_a_tuned_model(self, contract: Ask) -> None:
        cost = contract("ft:gpt-4.1-2025-04-14:acme:x:y", input=100, cache_read=10, output=5)
        assert cost.total == Decimal("0.000245")
        assert "contract 2026-014" in cost.lines[0].source

    def test_it_leaves_models_alone_that_the_pattern_does_not_fit(self, contract: Ask) -> None:
        cost = contract("ft:gpt-4.1-2025-04-14:other::y", input=1_000_000)
        assert cost.total == 3

    def test_it_holds_from_its_first_day(self, contract: Ask) -> None:
        model = "ft:gpt-4.1-2025-04-14:acme::y"
        assert contract(model, "2025-12-31", input=1_000_000).total == 3
        assert contract(model, "2026-01-01", input=100_000).total == Decimal("0.2")

    def test_a_step_holds_above_its_size_and_keeps_the_rates_it_does_not_name(
        self, contract: Ask
    ) -> None:
        model = "ft:gpt-4.1-2025-04-14:acme::y"
        assert contract(model, input=200_000).total == Decimal("0.4")
        cost = contract(model, input=200_000, cache_read=10)
        assert cost.total == Decimal("1.2") + Decimal("0.000005")

    def test_a_model_that_nobody_knew_is_known(self, contract: Ask) -> None:
        assert contract("gemini-9", input=1_000_000).total == 1
        assert contract("models/gemini-9-2027-01-05", input=1_000_000).total == 1
        assert contract("gemini-9-pro", input=1).total is None

    def test_an_override_of_a_model_holds_for_its_snapshot(self, contract: Ask) -> None:
        cost = contract("gpt-4o-2024-08-06", input=1_000_000, output=1_000_000)
        assert cost.total == 12

    def test_an_override_leaves_a_snapshot_with_its_own_price_alone(self, contract: Ask) -> None:
        assert contract("gpt-4o-2024-05-13", input=1_000_000).total == 5

    def test_tiers_follow_an_overridden_standard_rate_and_say_so(self, contract: Ask) -> None:
        cost = contract("gpt-4o", endpoint="batches", input=1_000_000)
        assert (cost.total, cost.status) == (1, "derived")

    def test_a_discount_multiplies_tokens_and_fees(self, contract: Ask) -> None:
        cost = contract("claude-opus-4-8", input=1_000_000, web_search=10)
        assert cost.total == Decimal("5.1") * Decimal("0.85")
        assert contract("claude-opus-4-8", "2026-09-30", input=1_000_000).total == 5

    def test_a_discount_and_a_region_stack(self, contract: Ask) -> None:
        cost = contract("claude-opus-4-8", region="us", input=1_000_000)
        assert cost.total == Decimal("5") * Decimal("1.1") * Decimal("0.85")

    def test_a_fee_replaces_the_listed_one(self, contract: Ask) -> None:
        cost = contract("gemini-3.5-flash", input=0, search_grounding_queries=2)
        assert cost.total == Decimal("0.014")

    def test_a_deployment_name_is_resolved_where_the_answer_names_no_model(
        self, contract: Ask
    ) -> None:
        cost = contract(None, requested="chat-prod", vendor="openai", platform="azure", output=100)
        assert cost.total == Decimal("0.001")

    def test_a_multiplier_for_a_region_of_ours_applies(self, contract: Ask) -> None:
        cost = contract("claude-opus-4-1", "2026-01-01", platform="azure", region="eu", input=1000)
        assert cost.total == Decimal("0.0165")

    def test_the_version_names_every_layer(self, contract: Ask) -> None:
        version = contract("gpt-4o", input=1).catalogue_version
        assert [part.split("@")[0] for part in version.split("+")] == [
            "prices.toml",
            "overlay",
            "genai-prices",
        ]

    def test_entries_of_the_settings_win_over_files_and_files_over_later_ones(
        self, tmp_path: Path
    ) -> None:
        row = '[[price]]\nprovider="openai"\nmodel="gpt-4o"\nsource="s"\n'
        first, second = tmp_path / "a.toml", tmp_path / "b.toml"
        first.write_text(row + 'input="2"')
        second.write_text(row + 'input="1"\noutput="1"')
        cost = asking(load_catalogue([first, second]))("gpt-4o", input=10**6, output=10**6)
        assert cost.total == 3
        settings = {
            "price": [
                {"provider": "openai", "model": "gpt-4o", "input": "0.5", "source": "settings"}
            ]
        }
        cost = asking(load_catalogue([first], settings))("gpt-4o", input=10**6)
        assert cost.total == Decimal("0.5")

    def test_json_is_read_too(self, tmp_path: Path) -> None:
        file = tmp_path / "prices.json"
        row = {"provider": "openai", "model": "gpt-9", "input": "1", "source": "s"}
        file.write_text(json.dumps({"price": [{**row, "valid_from": "2026-01-01"}]}))
        assert asking(load_catalogue([file]))("gpt-9", input=1_000_000).total == 1

    def test_the_most_specific_pattern_wins(self, tmp_path: Path) -> None:
        row = '[[price]]\nprovider="openai"\nsource="s"\n'
        file = tmp_path / "prices.toml"
        file.write_text(
            row + 'model="gpt-9*"\ninput="1"\n' + row + 'model="gpt-9-mini*"\ninput="2"\n'
            + row + 'model="gpt-9-mini-x"\ninput="3"\n'
            + row + 'model="gpt-9-mini-x"\nplatform="azure"\ninput="4"\n'
        )  # fmt: skip
        ask = asking(load_catalogue([file]))
        got = [
            ask(model, platform=platform, input=10**6).total
            for model, platform in [
                ("gpt-9-large", None),
                ("gpt-9-mini-y", None),
                ("gpt-9-mini-x", None),
                ("gpt-9-mini-x", "azure"),
            ]
        ]
        assert got == [1, 2, 3, 4]

    def test_odd_factors_stay_exact_to_the_last_pico_dollar(self, tmp_path: Path) -> None:
        file = tmp_path / "prices.toml"
        file.write_text('[[discount]]\nprovider="openai"\nfactor="0.333333"\n')
        cost = asking(load_catalogue([file]))("gpt-5-nano", cache_read=1000)
        assert cost.total == Decimal("0.005") / 1000 * Decimal("0.333333")


PRICE = '[[price]]\nprovider = "openai"\nmodel = "m"\nsource = "s"\n'

FEE = '[[fee]]\nprovider = "google"\nsku = "web"\n'

BROKEN = [
    ("not = [valid", "not valid TOML"),
    ('colour = "red"', "unknown key 'colour'"),
    ("schema = 2", "schema 2"),
    ('currency = "EUR"', "USD"),
    ("price = 3", "[[price]]"),
    (PRICE + "input = 3.0", 'write input = "3.0"'),
    (PRICE + "input = 3", 'write input = "3"'),
    (PRICE + 'input = "three"', "not a number"),
    (PRICE + 'input = "-1"', "not negative"),
    (PRICE + 'input = "NaN"', "finite"),
    (PRICE + 'input = "0"', "free = true"),
    (PRICE + 'input = "1"\ncached_input = "2"', "cache_read costs more"),
    (PRICE + 'input = "1"\ncached_input = "0.2"\ncache_read = "0.1"', "keep one"),
    (PRICE + 'input = "1"\ncolour = "red"', "unknown key 'colour'"),
    (PRICE + 'input = "1"\ntier = "turbo"', "tier 'turbo'"),
    (PRICE + 'free = true\ninput = "1"', "keep one"),
    (PRICE + "free = 1", "true or false"),
    (PRICE, "no rate"),
    ('[[price]]\nprovider = "openai"\nmodel = "m"\ninput = "1"', "source is missing"),
    ('[[price]]\nmodel = "m"\nsource = "s"\ninput = "1"', "provider is missing"),
    ('[[price]]\nprovider = "openai"\nsource = "s"\ninput = "1"', "model is missing"),
    (PRICE + 'models = ["n"]\ninput = "1"', "both model and models"),
    (PRICE + 'input = "1"\nvalid_from = "soon"', "not a date"),
    (PRICE + 'input = "1"\nvalid_from = 2026-02-01\nvalid_until = 2026-01-01', "not after"),
    (PRICE + 'input = "1"\n' + PRICE + 'input = "2"', "at the same time"),
    (
        PRICE + 'input = "1"\nvalid_until = 2026-02-01\n' + PRICE + 'input = "2"\nvalid_from = 2026-01-01',
        "at the same time",
    ),
    (PRICE + 'input = "1"\ntiers = [{ input = "2" }]', "above = 200000"),
    (PRICE + 'input = "1"\ntiers = [{ above = 5, colour = "2" }]', "unknown key 'colour'"),
    (PRICE + 'input = "1"\ntiers = [{ above = 9, input = "2" }, { above = 5, input = "3" }]', "ascend"),
    (PRICE + 'input = "1"\ntiers = 4', "tiers is not a list"),
    ('[[discount]]\nprovider = "openai"\nfactor = "1.2"', "not a discount"),
    ('[[discount]]\nprovider = "openai"\nfactor = 0.9', 'write factor = "0.9"'),
    ('[[multiplier]]\nprovider = "openai"\nfactor = "0"', "factor is zero"),
    ('[[multiplier]]\nprovider = "openai"\nfactor = "1.1"\nwhen = { weather = "fine" }', "when is not"),
    ('[[multiplier]]\nprovider = "openai"\nfactor = "1.1"\nscope = "sun"', "scope 'sun'"),
    ('[[fee]]\nprovider = "openai"\nsku = "x"', "price is missing"),
    ('[[fee]]\nprovider = "openai"\nsku = "x"\nper_1k = "1"\neach = "1"', "given twice"),
    ('[[fee]]\nprovider = "openai"\nsku = "X y"\neach = "1"', "not a word"),
    ('[[fee]]\nprovider = "openai"\nsku = "x"\neach = "0"', "free = true"),
    ('[[alias]]\nname = "x"', "model is missing"),
    ('[[kind]]\nprovider = "openai"\nkind = "smell"\nas = "input"', "'smell'"),
    ('[[tier]]\nprovider = "openai"\nfactor = "0.5"', "tier is missing"),
    ('[[tier]]\nprovider = "openai"\ntier = "flex"', "no factor"),
    ("base = 3", "write [base]"),
    ("[base]\ntyped_in = 3", "typed_in = [2026-11-20]"),
    ("[base]\nreleases = 3", "write [releases]"),
    (PRICE + 'input = "1e400000000"', 'write it like input = "2.50"'),
    (PRICE + 'input = "1e-400000000"', 'write it like input = "2.50"'),
    (PRICE + 'input = " 1_0 "', 'write it like input = "2.50"'),
    (PRICE + 'cached_input = "1"\ncache_read = "0.5"', "keep one"),
    (PRICE + 'input = "1"\ntiers = [{ above = 5, cached_input = "1", cache_read = "1" }]', "keep one"),
    (PRICE + 'input = "1"\ntiers = [{ above = 5, unlisted = "no" }]', "unlisted = true"),
    (PRICE + 'input = "1"\ntiers = [{ above = 5, unlisted = true, input = "9" }]', "keep one"),
    ('[[multiplier]]\nprovider = "openai"', 'factor is missing; write factor = "…"'),
    ('[[discount]]\nprovider = "openai"', 'factor is missing; write factor = "…"'),
    (FEE + 'each = "1"\n' + FEE + 'each = "2"', "another price"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_says_where_what_and_how_to_mend_it(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as failure:
        load_catalogue([file])
    message = str(failure.value)
    assert said in message
    assert "prices.toml" in message


def test_a_message_names_the_entry(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(PRICE + 'input = "1"\n' + PRICE.replace('"m"', '"n"') + "input = 2")
    with pytest.raises(ConfigurationError, match=r"prices\.toml \[\[price\]\] 2 \(n\)"):
        load_catalogue([file])


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_catalogue([tmp_path / "nothing.toml"])


@pytest.mark.parametrize(
    ("provider", "platform", "vendor", "where"),
    [
        ("gcp.gemini", None, "google", "gemini-api"),
        ("gcp.vertex_ai", None, "google", "vertex"),
        ("azure.ai.openai", None, "openai", "azure"),
        ("bedrock", None, "anthropic", "bedrock"),
        ("openai", "azure.ai.openai", "openai", "azure"),
        ("google", "vertexai", "google", "vertex"),
        ("openai", "openai", "openai", "openai-api"),
    ],
)
def test_a_price_list_goes_by_the_names_of_its_platforms(
    tmp_path: Path, provider: str, platform: str | None, vendor: str, where: str
) -> None:
    file = tmp_path / "prices.toml"
    row = PRICE.replace('"openai"', f'"{provider}"') + 'input = "7"\n'
    file.write_text(row + (f'platform = "{platform}"\n' if platform else ""))
    ask = asking(load_catalogue([file]))
    assert ask("m", vendor=vendor, platform=where, input=10**6).total == 7
    assert ask("m", vendor=vendor, platform="groq", input=10**6).total is None


def test_windows_that_follow_each_other_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        PRICE + 'input = "1"\nvalid_until = 2026-06-01\n'
        + PRICE + 'input = "2"\nvalid_from = 2026-06-01\n'
    )  # fmt: skip
    ask = asking(load_catalogue([file]))
    assert ask("m", "2026-05-31", input=10**6).total == 1
    assert ask("m", "2026-06-01", input=10**6).total == 2


def test_a_float_among_the_settings_is_refused() -> None:
    row = {"provider": "openai", "model": "m", "input": 0.1, "source": "s"}
    with pytest.raises(ConfigurationError, match=r'write input = "0\.1"'):
        load_catalogue(user_entries={"price": [row]})
