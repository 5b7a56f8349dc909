"""The terminal door: `otel-llm-usage`."""

import importlib
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from . import prices as price_room
from ._version import __version__
from .errors import LLMUsageError, MissingExtra
from .runtime import Runtime, catalogue, rehearse
from .settings import DEFAULT_PORT, NO_PORT, PREFIX, aside, load, variables


class _Group(click.Group):
    """Our own errors are one line for the user, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LLMUsageError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="otel-llm-usage")
def main() -> None:
    """Count every billed LLM token once, price it to the cent, see it before the invoice comes."""


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=None,
    help=f"Port of /metrics; 0 takes a free one. [default: {DEFAULT_PORT}]",
)
@click.option("--metrics-host", default=None, help="Where /metrics is bound. [default: 127.0.0.1]")
@click.option("--no-metrics", is_flag=True, help="Open no port.")
@click.option("--config", type=click.Path(dir_okay=False), help="A TOML file with settings.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    metrics_port: int | None,
    metrics_host: str | None,
    no_metrics: bool,
    config: str | None,
    command: tuple[str, ...],
) -> None:
    """Run a program with its LLM clients instrumented: otel-llm-usage run -- python app.py"""
    environment = dict(os.environ)
    if config:
        environment[f"{PREFIX}CONFIG"] = str(Path(config).resolve())
    if metrics_host:
        environment[f"{PREFIX}METRICS_HOST"] = metrics_host
    port = variables()["metrics_port"]
    if no_metrics:
        environment[port] = NO_PORT
    elif metrics_port is not None:
        environment[port] = str(metrics_port)
    settings = load({}, environment)
    if settings.metrics_port is None and not environment.get(port):
        environment[port] = str(DEFAULT_PORT)
        settings = replace(settings, metrics_port=DEFAULT_PORT)
    if settings.application is None:
        # whatever the program starts is a part of it, and shown on its port
        environment[variables()["application"]] = f"run {os.urandom(8).hex()}"
    rehearse(settings, environment)  # what is wrong is said here: the program would start uncounted
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent / "bootstrap"), *([path] if path else [])]
    )
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        raise click.ClickException(f"there is no program {command[0]!r}")
    deaf = _deaf_option(command)
    if deaf is not None:
        raise click.ClickException(
            f"{command[0]} {deaf} takes nothing from outside, so nothing would be counted: leave "
            f"{deaf} out, or call otel_llm_usage.instrument() in the program"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(program, command, environment)


def _deaf_option(command: Sequence[str]) -> str | None:
    """The option by which Python itself would not look at `PYTHONPATH`, or not run `site`."""
    if not Path(command[0]).name.startswith(("python", "pypy")):
        return None
    words = iter(command[1:])
    for word in words:
        if not word.startswith("-") or word.startswith("--"):
            return None
        for letter in word[1:]:
            if letter in "EIS":
                return f"-{letter}"
            if letter in "cm":
                return None
            if letter in "WX":  # takes what follows
                if word.endswith(letter):
                    next(words, None)
                break
    return None


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """What would be patched here, from where, and with which prices of which date."""
    with aside():
        found = _look()
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
        return
    _print_status(found)


def _look() -> dict[str, Any]:
    runtime = Runtime(load({"otlp": False, "spans": "never"}))
    files: dict[str, str | None] = {}
    runtime.engine.install()
    for sdk, modules in _modules(runtime.engine.states).items():
        for module in modules:
            try:
                found_at = getattr(importlib.import_module(module), "__file__", None)
            except ImportError:
                found_at = None
            files.setdefault(sdk, found_at)
    found = runtime.status()
    for sdk, facts in found["sdks"].items():
        facts["file"] = files.get(sdk)
    runtime.close()
    return found


def _modules(states: Mapping[Any, str]) -> dict[str, list[str]]:
    modules: dict[str, list[str]] = {}
    for seam in states:
        if seam.module not in modules.setdefault(seam.sdk, []):
            modules[seam.sdk].append(seam.module)
    return modules


def _print_status(found: Mapping[str, Any]) -> None:
    console = _console()
    console.print(f"otel-llm-usage {found['version']}")
    sdks = Table("SDK", "version", title="SDKs", title_justify="left")
    sdks.add_column("from", overflow="fold")
    seams = Table("SDK", "seam", "state", title="Seams", title_justify="left")
    for sdk, facts in found["sdks"].items():
        sdks.add_row(sdk, facts["version"] or "-", facts["file"] or "not installed")
        for name, state in facts["seams"].items():
            seams.add_row(sdk, name, state if facts["version"] else "not installed")
    console.print(sdks, seams)
    layers = Table("layer", "version", "as of", title="Prices", title_justify="left")
    for layer in found["prices"]:
        layers.add_row(layer["name"], str(layer["version"]), _date(layer["as_of"]))
    console.print(layers)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8129, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same usage.")
def standin(host: str, port: int, seed: int) -> None:
    """Serve a stand-in for Gemini, OpenAI and Anthropic, with a ledger of what it billed."""
    # a server that only this command and the tests need
    from .standin import serve  # noqa: PLC0415

    serve(host=host, port=port, seed=seed)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=9095, show_default=True)
def notifications(host: str, port: int) -> None:
    """Print Alertmanager's notifications as they arrive: a receiver for its webhook."""
    # a server that only this command needs
    from .notifications import Receiver  # noqa: PLC0415

    with Receiver(host, port).start(click.echo) as receiver:
        click.echo(f"waiting for notifications at {receiver.url}")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


@main.command()
@click.option("--ledger", help="A file, or postgresql://user@host/name.  [default: the setting]")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8130, show_default=True)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help="Holds the bearer token.  [default: OTEL_LLM_USAGE_API_TOKEN]",
)
def serve(ledger: str | None, host: str, port: int, token_file: str | None) -> None:
    """Serve the REST API over a ledger, and a live page of what is spent."""
    # a web framework that only this command needs
    from . import api  # noqa: PLC0415

    settings = load({})
    place = ledger or settings.ledger
    if place is None:
        raise click.ClickException(
            "which ledger? Say --ledger usage.db, or set OTEL_LLM_USAGE_LEDGER"
        )
    token = settings.api_token if token_file is None else api.token_in(token_file)
    api.serve(place, host=host, port=port, token=token, say=click.echo)


class _Duration(click.ParamType):  # type: ignore[type-arg]
    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, int | float):
            return float(value)
        number, unit = value.rstrip("smh"), value[len(value.rstrip("smh")) :]
        seconds = math.nan
        with suppress(ValueError, KeyError):
            seconds = float(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit]
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is no duration: say 10s, 2m or 1h", param, ctx)
        return seconds


@main.command()
@click.option(
    "--for", "seconds", type=_Duration(), default=None, help="End after this time: 10s, 2m."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=None,
    help=f"Port of /metrics; 0 takes a free one.  [default: {DEFAULT_PORT}, or a free one]",
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True)
@click.option(
    "--config", type=click.Path(dir_okay=False), help="A TOML file, such as with budgets."
)
@click.option("--plain", is_flag=True, help="No live view: a line every other second.")
def demo(
    seconds: float | None,
    metrics_port: int | None,
    metrics_host: str,
    config: str | None,
    plain: bool,
) -> None:
    """Agents at work on the real SDKs against the stand-in: billed by it, counted by us."""
    try:
        # the SDKs take seconds to import: only for those who want to see them at work
        from .demo import run as run_demo  # noqa: PLC0415
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("google", "openai", "anthropic"):
            raise
        raise MissingExtra("the demo", "gemini,openai,anthropic") from None
    code = run_demo(seconds, host=metrics_host, port=metrics_port, plain=plain, config=config)
    raise SystemExit(code)


@main.group()
def prices() -> None:
    """Look at prices: what a model costs, and whether a price file is right."""


def _day(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.ClickException(f"{text!r} is no date: say 2026-11-20") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_TIERS = ("standard", "batch", "flex", "priority", "fast", "ultrafast")


@prices.command("show")
@click.argument("model")
@click.option("--provider", help="Whose model it is: openai, anthropic, google, groq…")
@click.option("--platform", help="Where it is bought: vertex, azure, bedrock…")
@click.option("--tier", "tiers", multiple=True, help="Only this tier; may be repeated.")
@click.option(
    "--region", help="A location or an inference geography, where the price depends on it."
)
@click.option("--at", help="The price of this day, as 2026-11-20.  [default: today]")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show_prices(
    model: str,
    provider: str | None,
    platform: str | None,
    tiers: tuple[str, ...],
    region: str | None,
    at: str | None,
    as_json: bool,
) -> None:
    """What MODEL costs in each tier, and where each number comes from."""
    effective, moment = catalogue(load({})), _when(at)
    cards = price_room.show(
        effective,
        model,
        vendor=provider or price_room.owner(effective, model, at=moment),
        platform=platform,
        tiers=tiers or _TIERS,
        region=region,
        at=moment,
    )
    if as_json:
        click.echo(json.dumps([_plain(card) for card in cards], indent=2, default=str))
    else:
        _print_cards(cards, every=bool(tiers))
    if not any(card.rates for card in cards):
        raise SystemExit(1)


@prices.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--at", help="Show the prices of this day.  [default: today]")
def check_prices(files: tuple[str, ...], at: str | None) -> None:
    """Check price FILES, and show the effective prices of the models that they name."""
    for file in files:
        report = price_room.check_file(file, at=_when(at))
        counts = ", ".join(f"{count} {kind}" for kind, count in report.entries.items() if count)
        click.echo(f"{file}: valid; {counts or 'empty'}")
        for warning in report.warnings:
            click.echo(f"warning: {warning}", err=True)
        _print_cards(report.cards, every=True)
        _print_differences(report.differences)


@prices.command("diff")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--at", help="Compare the prices of this day.  [default: today]")
def diff_prices(files: tuple[str, ...], at: str | None) -> None:
    """What price FILES (or those that are configured) change; without any, what our overlay does."""
    moment = _when(at)
    chosen = files or load({}).prices
    if chosen:
        changed = [
            one for file in chosen for one in price_room.check_file(file, at=moment).differences
        ]
    else:
        changed = list(price_room.overlay_differences(at=moment))
    _print_differences(changed)
    if not changed:
        click.echo("no differences")


def _when(at: str | None) -> float:
    day = _day(at)
    return time.time() if day is None else day.timestamp()


def _plain(card: Any) -> dict[str, Any]:
    plain: dict[str, Any] = card._asdict()
    return plain | {"rates": [rate._asdict() for rate in card.rates]}


def _print_cards(cards: Sequence[price_room.ShownCard], *, every: bool) -> None:
    console = _console()
    for card in cards:
        if not card.rates:
            if every or card.tier == "standard":
                console.print(f"{card.label}: no price ({card.reason})")
            continue
        window = " to ".join(_date(moment) for moment in (card.since, card.until))
        title = f"{card.label}   {window}" if window != "… to …" else card.label
        table = Table("what", title=title, title_justify="left")
        table.add_column("US dollars", justify="right")
        table.add_column("for")
        table.add_column("source", overflow="fold")
        for rate in card.rates:
            above = f", prompt over {rate.above:,} tokens" if rate.above else ""
            table.add_row(rate.sku, f"{rate.price:f}", f"{rate.unit}{above}", rate.source)
        console.print(table)
        for word in card.assumed:
            console.print(f"  assumed: {word}")


def _date(moment: float | None) -> str:
    return "…" if moment is None else datetime.fromtimestamp(moment, UTC).date().isoformat()


def _print_differences(differences: Sequence[price_room.Difference]) -> None:
    if not differences:
        return
    table = Table("model", "tier", "what", title="What changes", title_justify="left")
    for heading in ("before", "after"):
        table.add_column(heading, justify="right")
    table.add_column("source", overflow="fold")
    for one in differences:
        above = f" >{one.above:,}" if one.above else ""
        before, after = (("-" if p is None else f"{p:f}") for p in (one.before, one.after))
        table.add_row(one.model, one.tier, one.sku + above, before, after, one.source)
    _console().print(table)


def _console() -> Console:
    console = Console()
    if not console.is_terminal:
        console.width = 140  # a pipe has no edge
    return console
