"""Commands that run something, or look at what is installed."""

import importlib
import json
import math
import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from ..errors import MissingExtra
from ..runtime import Runtime, rehearse
from ..settings import DEFAULT_PORT, NO_PORT, PREFIX, aside, load, variables
from .terminal import console, date


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
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
        [str(Path(__file__).parents[1] / "bootstrap"), *([path] if path else [])]
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


@click.command()
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
    shown = console()
    shown.print(f"otel-llm-usage {found['version']}")
    sdks = Table("SDK", "version", title="SDKs", title_justify="left")
    sdks.add_column("from", overflow="fold")
    seams = Table("SDK", "seam", "state", title="Seams", title_justify="left")
    for sdk, facts in found["sdks"].items():
        sdks.add_row(sdk, facts["version"] or "-", facts["file"] or "not installed")
        for name, state in facts["seams"].items():
            seams.add_row(sdk, name, state if facts["version"] else "not installed")
    shown.print(sdks, seams)
    layers = Table("layer", "version", "as of", title="Prices", title_justify="left")
    for layer in found["prices"]:
        layers.add_row(layer["name"], str(layer["version"]), date(layer["as_of"]))
    shown.print(layers)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8129, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same usage.")
def standin(host: str, port: int, seed: int) -> None:
    """Serve a stand-in for Gemini, OpenAI and Anthropic, with a ledger of what it billed."""
    # a server that only this command and the tests need
    from ..standin import serve  # noqa: PLC0415

    serve(host=host, port=port, seed=seed)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=9095, show_default=True)
def notifications(host: str, port: int) -> None:
    """Print Alertmanager's notifications as they arrive: a receiver for its webhook."""
    # a server that only this command needs
    from ..notifications import Receiver  # noqa: PLC0415

    with Receiver(host, port).start(click.echo) as receiver:
        click.echo(f"waiting for notifications at {receiver.url}")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


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


@click.command()
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
        from ..demo import run as run_demo  # noqa: PLC0415
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("google", "openai", "anthropic"):
            raise
        raise MissingExtra("the demo", "gemini,openai,anthropic") from None
    code = run_demo(seconds, host=metrics_host, port=metrics_port, plain=plain, config=config)
    raise SystemExit(code)
