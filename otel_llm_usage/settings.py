"""What the user chose: one frozen `Settings`, and the only reader of the environment.

Each setting comes from, first found wins: an argument of `instrument()`, the environment
(`OTEL_LLM_USAGE_<NAME>`), the TOML file (`config=` or `OTEL_LLM_USAGE_CONFIG`), the default.
"""

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from .budgets import Budget
from .budgets import parse as parse_budgets
from .errors import ConfigurationError

PREFIX = "OTEL_LLM_USAGE_"
SDKS = ("google", "openai", "anthropic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be chosen. The defaults are what most teams want."""

    sdks: tuple[str, ...] = SDKS
    """Which SDKs to instrument: `google`, `openai`, `anthropic`."""
    agent: str = "unknown"
    """The agent of a call outside every `with agent(...)` block."""
    namespace: str = "llm"
    """Prefix of the metric names; empty gives plain `tokens_total` and `cost_total`."""
    metric_labels: tuple[str, ...] = ()
    """Which further labels become metric labels."""
    max_label_values: int = 200
    """How many values one metric label may take before the rest is counted as `other`."""
    exemplars: bool = True
    """Put the trace id on tokens and cost as OpenMetrics exemplars."""
    gen_ai_metrics: bool = False
    """Also emit the semantic conventions' own `gen_ai.client.*` histograms."""
    spans: Literal["auto", "always", "never"] = "auto"
    """`auto`: a span for each call, unless another one that carries usage is open already."""
    on_abort: Literal["estimate", "drain", "ignore"] = "estimate"
    """A stream left early: estimate what is unknown, read it to the end, or count it as unknown."""
    stream_usage: Mapping[str, str] = field(default_factory=dict)
    """By host (`*` for all): `auto`, `always` or `never` ask for the usage of OpenAI chat streams."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Whose host it is, where its name does not tell: `{"llm.corp.example": "groq"}`."""
    prices: tuple[str, ...] = ()
    """Price files (TOML), each over the ones before it."""
    price_data: str | None = None
    """A local `data.json` of the price table, instead of the installed one."""
    stale_after_days: int = 45
    """Prices older than this are reported as stale."""
    metrics_host: str = "127.0.0.1"
    """Where `/metrics` is bound."""
    metrics_port: int | None = None
    """The port of `/metrics`; 0 takes a free one, `None` opens none."""
    metrics_token: str | None = field(default=None, repr=False)
    """Bearer token that a scrape must present."""
    budgets: tuple[Budget, ...] = ()
    """What may be spent in a period, and when to say so."""
    otlp: bool = True
    """Set up OTLP where the standard `OTEL_*` variables ask for it and no provider is set."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _boolean(text: str) -> bool:
    try:
        return {"1": True, "true": True, "yes": True, "on": True}.get(text.lower()) or {
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }[text.lower()]
    except KeyError:
        raise ValueError("say true or false") from None


def _pairs(text: str) -> dict[str, str]:
    pairs = {}
    for word in _words(text):
        key, separator, value = word.rpartition("=")
        if not separator:
            # `OTEL_LLM_USAGE_STREAM_USAGE=never` speaks of every host
            key = "*"
        pairs[key] = value
    return pairs


_PARSERS: dict[str, Callable[[str], Any]] = {
    "sdks": _words,
    "agent": str,
    "namespace": str,
    "metric_labels": _words,
    "max_label_values": int,
    "exemplars": _boolean,
    "gen_ai_metrics": _boolean,
    "spans": str,
    "on_abort": str,
    "stream_usage": _pairs,
    "hosts": _pairs,
    "prices": _words,
    "price_data": str,
    "stale_after_days": int,
    "metrics_host": str,
    "metrics_port": int,
    "metrics_token": str,
    "otlp": _boolean,
}

_NAMES = (*_PARSERS, "budgets")
"""All settings; budgets have no variable in the environment."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "spans": ("auto", "always", "never"),
    "on_abort": ("estimate", "drain", "ignore"),
    "sdks": SDKS,
}


def load(
    arguments: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    config: str | os.PathLike[str] | None = None,
) -> Settings:
    """The settings of this process; `ConfigurationError` says what is wrong and where."""
    environment = os.environ if environment is None else environment
    config = config or environment.get(f"{PREFIX}CONFIG")
    chosen: dict[str, Any] = {}
    if config:
        chosen |= _from_file(Path(config))
    chosen |= _from_environment(environment)
    chosen |= {key: value for key, value in arguments.items() if value is not None}
    unknown = set(chosen) - set(_NAMES)
    if unknown:
        raise ConfigurationError(
            f"there is no setting {sorted(unknown)[0]!r}; there are: {', '.join(_NAMES)}"
        )
    return _checked(replace(Settings(), **{key: _frozen(value) for key, value in chosen.items()}))


def otel_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The standard `OTEL_*` variables that are set."""
    environment = os.environ if environment is None else environment
    return {key: value for key, value in environment.items() if key.startswith("OTEL_") and value}


def multiprocess_directory(environment: Mapping[str, str] | None = None) -> Path | None:
    """Where prometheus_client keeps the numbers of several processes, if it does."""
    environment = os.environ if environment is None else environment
    directory = environment.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(directory) if directory else None


def variables() -> dict[str, str]:
    """Each setting and its environment variable."""
    return {name: PREFIX + name.upper() for name in _PARSERS}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name, variable in variables().items():
        text = environment.get(variable)
        if text is None or (text == "" and name != "namespace"):
            continue
        try:
            found[name] = _PARSERS[name](text)
        except ValueError as error:
            raise ConfigurationError(f"{variable}={text!r} can't be read: {error}") from None
    return found


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            document = tomllib.load(file, parse_float=Decimal)  # money is exact
    except OSError as error:
        raise ConfigurationError(f"the settings file {path} can't be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the settings file {path} is not valid TOML: {error}") from None
    unknown = set(document) - set(_NAMES)
    if unknown:
        raise ConfigurationError(
            f"{path}: there is no setting {sorted(unknown)[0]!r}; there are: {', '.join(_NAMES)}"
        )
    if "prices" in document:
        # a price file stands beside the file that names it
        names = document["prices"]
        names = [names] if isinstance(names, str) else names
        document["prices"] = [str(path.parent / name) for name in names]
    return document


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _checked(settings: Settings) -> Settings:
    if isinstance(settings.budgets, str | Mapping) or not isinstance(settings.budgets, Iterable):
        raise ConfigurationError(
            f"budgets={settings.budgets!r}: this takes a list of Budget, or [[budgets]] tables"
        )
    settings = replace(settings, budgets=parse_budgets(settings.budgets))
    for one in fields(Settings):
        value = getattr(settings, one.name)
        if one.name in ("sdks", "metric_labels", "prices"):
            value = (value,) if isinstance(value, str | os.PathLike) else tuple(value)
            value = tuple(os.fspath(item) for item in cast(Sequence[Any], value))
            changed: dict[str, Any] = {one.name: value}
            settings = replace(settings, **changed)
        _check_type(one.name, value)
        for word in value if isinstance(value, tuple) else (value,):
            allowed = _CHOICES.get(one.name)
            if allowed is not None and word not in allowed:
                raise ConfigurationError(f"{one.name}={word!r}: choose one of {', '.join(allowed)}")
    for host, choice in settings.stream_usage.items():
        if choice not in ("auto", "always", "never"):
            raise ConfigurationError(
                f"stream_usage for {host!r} is {choice!r}: choose one of auto, always, never"
            )
    for label in settings.metric_labels:
        if not label.isidentifier() or label.startswith("__"):
            raise ConfigurationError(f"metric_labels: {label!r} is not a Prometheus label name")
    if settings.namespace and not settings.namespace.isidentifier():
        raise ConfigurationError(f"namespace={settings.namespace!r} is not a Prometheus name")
    return settings


_TYPES: dict[str, tuple[type, ...]] = {
    "agent": (str,),
    "namespace": (str,),
    "max_label_values": (int,),
    "exemplars": (bool,),
    "gen_ai_metrics": (bool,),
    "spans": (str,),
    "on_abort": (str,),
    "stream_usage": (Mapping,),
    "hosts": (Mapping,),
    "stale_after_days": (int,),
    "metrics_host": (str,),
    "metrics_port": (int, type(None)),
    "metrics_token": (str, type(None)),
    "price_data": (str, type(None)),
    "otlp": (bool,),
}


def _check_type(name: str, value: Any) -> None:
    expected = _TYPES.get(name)
    if expected is None:
        return
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        wanted = " or ".join(kind.__name__ for kind in expected)
        raise ConfigurationError(f"{name}={value!r}: this takes {wanted}")
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        raise ConfigurationError(f"{name}={value!r}: this can't be negative")
