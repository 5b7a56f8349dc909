"""The catalogue as a whole: its layers, its age, its reloading, and when the table is loaded."""

import dataclasses
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from otel_llm_usage.errors import ConfigurationError
from otel_llm_usage.prices import (
    CatalogueHolder,
    check_file,
    diff,
    load_catalogue,
    overlay_differences,
    owner,
    show,
)
from otel_llm_usage.records import Reading, Request, Usage

from .conftest import asking, noon

PRICE = '[[price]]\nprovider = "openai"\nmodel = "gpt-9"\nsource = "s"\ninput = "{}"\n'
REQUEST = Request("openai", "openai", "openai-api", "chat", "chat.completions", model="gpt-9")
READING = Reading(Usage(input=10**6, output=0))


class TestLoading:
    def test_the_table_is_not_loaded_at_import_nor_with_the_files(
        self, python: Callable[..., str]
    ) -> None:
        python(
            "import sys; from otel_llm_usage.prices import load_catalogue\n"
            "c = load_catalogue()\n"
            "assert not {'genai_prices', 'pydantic'} & set(sys.modules)\n"
            "c.warm()\n"
            "assert 'genai_prices' in sys.modules\n"
        )

    def test_after_warming_a_price_imports_nothing(self, python: Callable[..., str]) -> None:
        python(
            "import sys; from otel_llm_usage.prices import load_catalogue\n"
            "from otel_llm_usage.records import *\n"
            "c = load_catalogue(stale_after_days=10**6); c.warm(); before = set(sys.modules)\n"
            "q = Request('openai', 'openai', 'openai-api', 'chat', 'chat', model='gpt-4o')\n"
            "assert c.price(q, Reading(Usage(input=4, output=0)), 1.79e9).total\n"
            "assert c.price(q._replace(model='gpt-77'), Reading(Usage(input=4, output=0)), 1.79e9).reasons\n"
            "assert set(sys.modules) == before, set(sys.modules) - before\n"
        )

    def test_a_table_set_for_the_whole_process_does_not_change_ours(
        self, python: Callable[..., str]
    ) -> None:
        python(
            "from genai_prices import data_snapshot\n"
            "data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot([], False))\n"
            "from otel_llm_usage.prices import load_catalogue\n"
            "from otel_llm_usage.records import *\n"
            "q = Request('openai', 'openai', 'openai-api', 'chat', 'chat', model='gpt-4o')\n"
            "c = load_catalogue(stale_after_days=10**6)\n"
            "assert c.price(q, Reading(Usage(input=4, output=0)), 1.79e9).total\n"
        )


class TestAge:
    def test_each_layer_says_its_version_and_day(self) -> None:
        catalogue = load_catalogue()
        assert [layer.name for layer in catalogue.layers] == ["overlay", "genai-prices"]
        assert catalogue.age_seconds("overlay", noon("2026-11-23")) == 1.5 * 86_400
        assert catalogue.age_seconds("nothing", 0.0) is None

    def test_an_old_table_is_said_once_and_marked_on_every_cost(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        ask = asking(load_catalogue())
        with caplog.at_level(logging.WARNING, "otel_llm_usage"):
            fresh = ask("gpt-4o", "2026-12-01", input=1)
            old = [ask("gpt-4o", "2027-03-01", input=1) for _ in range(3)]
        assert not fresh.stale
        assert all(cost.stale for cost in old)
        assert len(caplog.messages) == 1
        assert "pip install -U genai-prices" in caplog.text


class TestReloading:
    def test_new_prices_hold_after_a_reload(self, tmp_path: Path) -> None:
        file = tmp_path / "prices.toml"
        file.write_text(PRICE.format(1))
        holder = CatalogueHolder(load_catalogue([file], stale_after_days=10**6))
        assert holder.price(REQUEST, READING, 1.79e9).total == 1
        file.write_text(PRICE.format(2))
        assert holder.reload()
        assert holder.price(REQUEST, READING, 1.79e9).total == 2

    def test_a_broken_file_keeps_the_old_prices_and_is_counted(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "prices.toml"
        file.write_text(PRICE.format(1))
        told: list[int] = []
        holder = CatalogueHolder(
            load_catalogue([file], stale_after_days=10**6), on_error=lambda: told.append(1)
        )
        file.write_text("broken = ")
        assert not holder.reload()
        assert holder.price(REQUEST, READING, 1.79e9).total == 1
        assert (holder.reload_errors, told) == (1, [1])
        assert "prices.toml" in caplog.text


DATA = [
    {
        "id": "openai",
        "name": "OpenAI",
        "api_pattern": "https://api\\.openai\\.com",
        "extractors": [{"root": "usage", "mappings": []}],
        "models": [
            {
                "id": "gpt-9",
                "match": {"or": [{"equals": "gpt-9"}, {"starts_with": "gpt-9-preview"}]},
                "prices": [
                    {"prices": {"input_mtok": 0.1, "output_mtok": 1}},
                    {
                        "constraint": {"start_date": "2026-06-01"},
                        "prices": {
                            "input_mtok": {"base": 0.2, "tiers": [{"start": 1000, "price": 0.4}]}
                        },
                    },
                ],
            }
        ],
    }
]


class TestAnotherTable:
    def test_a_data_file_replaces_the_installed_table(self, tmp_path: Path) -> None:
        file = tmp_path / "data.json"
        file.write_text(json.dumps(DATA))
        ask = asking(load_catalogue(base_data=file, stale_after_days=10**6))
        assert ask("gpt-9", "2026-01-01", input=1_000_000).total == Decimal("0.1")
        assert ask("gpt-9", "2026-07-01", input=1000).total == Decimal("0.0002")
        assert ask("gpt-9-preview-05-06", "2026-07-01", input=1001).total == Decimal("0.0004004")
        assert ask("gpt-4o", input=1).reasons == ("unknown_model",)

    @pytest.mark.parametrize("text", ["{", "[1]", '[{"id": 3}]'])
    def test_a_broken_data_file_is_a_configuration_error(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "data.json"
        file.write_text(text)
        with pytest.raises(ConfigurationError, match=r"data\.json"):
            load_catalogue(base_data=file).warm()


class TestLookingInside:
    def test_a_card_shows_where_each_number_comes_from(self) -> None:
        catalogue = load_catalogue()
        standard, batch = show(
            catalogue,
            "gemini-2.5-pro",
            vendor="google",
            tiers=("standard", "batch"),
            at=noon("2026-11-20"),
        )
        rates = {(rate.sku, rate.above): rate for rate in standard.rates}
        assert rates["input", 0].price == Decimal("1.25")
        assert rates["input", 200_000].price == Decimal("2.5")
        assert rates["cache_storage_token_hours", 0].price == Decimal("0.0000045")
        assert rates["input", 0].source.startswith("genai-prices")
        cached = {rate.sku: rate for rate in batch.rates if not rate.above}["cache_read"]
        assert cached.price == Decimal("0.125")
        assert cached.derived

    def test_an_unknown_model_shows_why(self) -> None:
        (card,) = show(load_catalogue(), "gpt-9", at=noon("2026-11-20"))
        assert (card.reason, card.rates) == ("unknown_model", ())

    def test_a_file_is_checked_with_what_it_changes(self, tmp_path: Path) -> None:
        file = tmp_path / "prices.toml"
        file.write_text(PRICE.format(1) + PRICE.format(2).replace("gpt-9", "gpt-4o"))
        report = check_file(file, at=noon("2026-11-20"))
        assert report.entries["price"] == 2
        assert [card.model for card in report.cards] == ["gpt-9", "gpt-4o"]
        changed = {(one.model, one.sku): (one.before, one.after) for one in report.differences}
        assert changed["gpt-4o", "input"] == (Decimal("2.5"), 2)
        assert changed["gpt-9", "input"] == (None, 1)
        assert ("gpt-4o", "output") not in changed

    def test_a_check_tells_what_patterns_and_platforms_change(self, tmp_path: Path) -> None:
        file = tmp_path / "prices.toml"
        file.write_text(
            '[[discount]]\nprovider = "anthropic"\nfactor = "0.5"\n'
            '[[fee]]\nprovider = "openai"\nplatform = "azure"\nmodels = ["gpt-4o"]\n'
            'sku = "web_search"\nper_1k = "7"\n'
            '[[multiplier]]\nprovider = "openai"\nmodels = ["gpt-4o"]\nfactor = "2"\n'
            'when = { region = "eu" }\n'
            '[[alias]]\nname = "prod"\nmodel = "claude-opus-5"\n'
        )
        report = check_file(file, at=noon("2026-11-20"))
        changed = {(one.model, one.sku): (one.before, one.after) for one in report.differences}
        assert changed["claude-opus-5", "input"] == (5, Decimal("2.5"))
        assert changed["gpt-4o azure", "web_search"] == (Decimal("0.014"), Decimal("0.007"))
        assert changed["gpt-4o eu", "input"] == (Decimal("2.5"), 5)
        assert changed["prod", "output"] == (None, Decimal("12.5"))
        alias = report.cards[0]
        assert (alias.vendor, alias.reason, alias.model) == ("anthropic", "", "claude-opus-5")
        assert report.entries["discount"] == report.entries["multiplier"] == 1
        assert report.warnings == ()

    def test_a_check_warns_of_names_that_nobody_has(self, tmp_path: Path) -> None:
        file = tmp_path / "prices.toml"
        file.write_text(
            PRICE.format(1).replace("openai", "opeani") + PRICE.format(1) + 'platform = "azur"\n'
        )
        first, second = check_file(file, at=noon("2026-11-20")).warnings
        assert "did you mean 'openai'" in first
        assert "[[price]] 2" in second
        assert "did you mean 'azure'" in second

    def test_a_card_shows_how_long_its_numbers_hold(self) -> None:
        days = []
        for model in ("gemini-3.8-flash", "gpt-4"):
            (card,) = show(
                load_catalogue(),
                model,
                vendor=owner(load_catalogue(), model, at=1.795e9),
                at=1.795e9,
            )
            days.append((card.since, card.until))
        assert days[0][1] == noon("2027-01-01") - 43_200
        assert days[1] == (None, None)

    def test_a_card_is_shown_under_its_providers_names(self) -> None:
        (card,) = show(load_catalogue(), "gemini-2.0-flash", vendor="vertex", at=1.795e9)
        assert (card.vendor, card.platform) == ("google", "vertex")
        assert card.rates[0].price == Decimal("0.15")

    @pytest.mark.parametrize(
        ("model", "vendor"),
        [
            ("text-embedding-004", "google"),
            ("text-embedding-3-small", "openai"),
            ("claude-opus-5", "anthropic"),
            ("nobody-1", "openai"),
        ],
    )
    def test_a_model_is_found_with_its_owner(self, model: str, vendor: str) -> None:
        assert owner(load_catalogue(), model, at=1.795e9) == vendor

    def test_a_broken_file_is_told_by_its_check(self, tmp_path: Path) -> None:
        file = tmp_path / "prices.toml"
        file.write_text("x = 1")
        with pytest.raises(ConfigurationError):
            check_file(file, at=0.0)

    def test_what_the_overlay_changes_can_be_listed(self) -> None:
        changed = {
            (one.model, one.tier, one.sku, one.above): (one.before, one.after)
            for one in overlay_differences(at=noon("2026-09-15"))
        }
        assert changed["gpt-4o-audio-preview", "standard", "input_audio", 0] == (None, 40)
        assert changed["gemini-3-flash-preview", "flex", "output", 0] == (None, Decimal("1.5"))
        assert ("gpt-4o", "standard", "input", 0) not in changed

    def test_two_catalogues_that_agree_do_not_differ(self) -> None:
        catalogue = load_catalogue()
        assert diff(catalogue, catalogue, [("openai", "gpt-4o")], at=noon("2026-11-20")) == ()


class TestTheTableWeStandOn:
    """What we touch of genai-prices: if it changes, this breaks and not our users."""

    def test_the_attributes_that_we_read_are_there(self) -> None:
        from genai_prices import types
        from genai_prices.data import providers
        from genai_prices.data_snapshot import DataSnapshot

        wanted = {
            types.Provider: {"id", "models"},
            types.ModelInfo: {"id", "match", "prices", "price_variants"},
            types.TieredPrices: {"base", "tiers"},
            types.Tier: {"start", "price"},
            types.ConditionalPrice: {"constraint", "prices"},
            types.PriceVariant: {"constraint"},
            types.StartDateConstraint: {"start_date"},
            types.TimeOfDateConstraint: {"start_time", "end_time"},
            types.ClauseOr: {"or_"},
            types.ClauseAnd: {"and_"},
            types.ClauseEquals: {"equals"},
            types.ClauseStartsWith: {"starts_with"},
            types.ClauseEndsWith: {"ends_with"},
            types.ClauseContains: {"contains"},
            types.ClauseRegex: {"regex"},
            DataSnapshot: {"providers", "from_auto_update"},
        }
        for kind, names in wanted.items():
            assert names <= {field.name for field in dataclasses.fields(kind)}, kind
        assert callable(types.ModelInfo.get_prices)
        assert callable(types.Provider.find_model)
        assert callable(DataSnapshot.find_provider)
        assert {"openai", "anthropic", "google", "azure", "aws"} <= {one.id for one in providers}

    def test_every_price_of_the_three_vendors_is_one_that_we_understand(self) -> None:
        from genai_prices.data import providers

        from otel_llm_usage.prices import base

        known = {*base._KINDS, *base._UNITS}
        for provider in providers:
            if provider.id not in ("openai", "anthropic", "google"):
                continue
            for model in provider.models:
                listed = model.prices if isinstance(model.prices, list) else [model]
                for entry in listed:
                    used = {key for key, value in entry.prices.__dict__.items() if value}
                    assert used <= known, model.id

    def test_the_release_day_of_the_installed_table_is_known(self) -> None:
        layer = load_catalogue().layers[-1]
        assert layer.as_of is not None, f"add {layer.version} to [base.releases] of overlay.toml"
