"""What the user chose: one frozen `Settings`, and the only reader of the environment.

Each setting comes from, first found wins: an argument of `instrument()`, the environment
(`OTEL_LLM_USAGE_<NAME>`), the TOML file (`config=` or `OTEL_LLM_USAGE_CONFIG`), the default.
"""

import difflib
import logging
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

from .baggage import MOST_NAMES
from .budgets import Budget
from .budgets import parse as parse_budgets
from .errors import ConfigurationError
from .providers import hosts as known_hosts

logger = logging.getLogger("otel_llm_usage")

PREFIX = "OTEL_LLM_USAGE_"
DEFAULT_PORT = 9464
"""Where a command serves `/metrics` if nobody chose: OpenTelemetry's Prometheus exporter does, too."""
NO_PORT = "none"
"""What the environment says to open no port, whatever the file says."""
SDKS = ("google", "openai", "anthropic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be chosen. The defaults are what most teams want."""

    sdks: tuple[str, ...] = SDKS
    """Which SDKs to instrument: `google`, `openai`, `anthropic`."""
    agent: str = "unknown"
    """The agent of a call outside every `with agent(...)` block."""
    agents: Mapping[str, str] = field(default_factory=dict)
    """By dotted name of a module, class or function, the agent of its calls outside every block."""
    baggage: tuple[str, ...] = ()
    """What other services are told, and may say, of who pays: `agent`, and names of labels."""
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
    api_token: str | None = field(default=None, repr=False)
    """Bearer token that whoever asks `otel-llm-usage serve` must present."""
    budgets: tuple[Budget, ...] = ()
    """What may be spent in a period, and when to say so."""
    application: str | None = None
    """Processes of one machine and user that say the same show one sum; else who started them tells."""
    ledger: str | None = field(default=None, repr=False)  # it may hold a password
    """Where every record is kept: the path of an SQLite file, or `postgresql://user@host/name`."""
    ledger_journal: str | None = None
    """The folder for records that wait while the ledger's database is away."""
    durability: Literal["interval", "sync"] = "interval"
    """`interval`: records are on the disk within a second; `sync`: before their call returns."""
    estimate_learning: str | None = None
    """The JSON file of what calls teach about how models count tokens; `None`: learn nothing."""
    threads: bool = True
    """Carry who pays into threads and thread pools."""
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
        pairs[key.strip()] = value.strip()
    return pairs


def _port(text: str) -> int | None:
    return None if text.strip().lower() == NO_PORT else int(text)


_PARSERS: dict[str, Callable[[str], Any]] = {
    "sdks": _words,
    "agent": str,
    "agents": _pairs,
    "baggage": _words,
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
    "metrics_port": _port,
    "metrics_token": str,
    "api_token": str,
    "application": str,
    "ledger": str,
    "ledger_journal": str,
    "durability": str,
    "estimate_learning": str,
    "threads": _boolean,
    "otlp": _boolean,
}

_NAMES = (*_PARSERS, "budgets")
"""All settings; budgets have no variable in the environment."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "spans": ("auto", "always", "never"),
    "on_abort": ("estimate", "drain", "ignore"),
    "durability": ("interval", "sync"),
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
    return _checked(replace(Settings(), **{key: _meant(key, chosen[key]) for key in chosen}))


def otel_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The standard `OTEL_*` variables that are set."""
    environment = os.environ if environment is None else environment
    return {key: value for key, value in environment.items() if key.startswith("OTEL_") and value}


def admin_key(provider: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The key with which a provider tells an organisation its usage, under the provider's own name."""
    environment = os.environ if environment is None else environment
    found = (environment.get(name) for name in _ADMIN_KEYS.get(provider, ()))
    return next(filter(None, found), None)


_ADMIN_KEYS: Mapping[str, tuple[str, ...]] = {
    "openai": ("OPENAI_ADMIN_KEY",),
    "anthropic": ("ANTHROPIC_ADMIN_KEY", "ANTHROPIC_ADMIN_API_KEY"),
}


def multiprocess_directory(environment: Mapping[str, str] | None = None) -> Path | None:
    """Where prometheus_client keeps the numbers of several processes, if it does."""
    environment = os.environ if environment is None else environment
    directory = environment.get(_MULTIPROCESS)
    if not directory:
        return None
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
        raise ConfigurationError(
            f"{_MULTIPROCESS}={directory!r} names a directory that has to be there, writable and "
            "empty, before the program starts"
        )
    return Path(directory)


@contextmanager
def aside() -> Iterator[None]:
    """In the block, what is written for several processes is written elsewhere and thrown away.

    For commands that look or play: a service's directory holds the numbers of the service alone.
    """
    directory = os.environ.get(_MULTIPROCESS)
    if not directory:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="otel-llm-usage-") as elsewhere:
        os.environ[_MULTIPROCESS] = elsewhere
        try:
            yield
        finally:
            os.environ[_MULTIPROCESS] = directory


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without our settings of outside, and without proxies on loopback: for what has its own."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(PREFIX)]:
        del os.environ[name]
    direct = before.get("no_proxy") or before.get("NO_PROXY")
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, (direct, "127.0.0.1")))
    try:
        with aside():
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


_MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


def variables() -> dict[str, str]:
    """Each setting and its environment variable."""
    return {name: PREFIX + name.upper() for name in _PARSERS}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    _warn_of_misspelt(environment)
    for name, variable in variables().items():
        text = environment.get(variable)
        if text is None or (text == "" and name != "namespace"):
            continue
        try:
            found[name] = _PARSERS[name](text)
        except ValueError as error:
            raise ConfigurationError(f"{variable}={text!r} can't be read: {error}") from None
    return found


def _warn_of_misspelt(environment: Mapping[str, str]) -> None:
    """No error: the variable may be the program's own."""
    ours = (*variables().values(), f"{PREFIX}CONFIG")
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in ours:
            nearest = difflib.get_close_matches(name, ours, n=1, cutoff=0.0)[0]
            logger.warning("%s is no setting of ours and has no effect: is it %s?", name, nearest)


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
    # a file stands beside the one that names it
    if "prices" in document:
        names = _texts("prices", document["prices"])
        document["prices"] = [str(path.parent / name) for name in names]
    for name in ("price_data", "ledger", "ledger_journal", "estimate_learning"):
        said = document.get(name)
        if isinstance(said, str) and "://" not in said:
            document[name] = str(path.parent / said)
    return document


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """One text, or several."""
    try:
        items = (value,) if isinstance(value, str | os.PathLike) else tuple(value)
        return tuple(os.fspath(item) for item in items)
    except TypeError:
        raise ConfigurationError(f"{name}={value!r}: this takes a list of texts") from None


def _meant(name: str, value: Any) -> Any:
    if name == "stream_usage" and isinstance(value, str):
        return {"*": value}  # one word for all hosts
    return tuple(value) if isinstance(value, list) else value


def _checked(settings: Settings) -> Settings:
    if isinstance(settings.budgets, str | Mapping) or not isinstance(settings.budgets, Iterable):
        raise ConfigurationError(
            f"budgets={settings.budgets!r}: this takes a list of Budget, or [[budgets]] tables"
        )
    settings = replace(settings, budgets=parse_budgets(settings.budgets))
    for one in fields(Settings):
        value = getattr(settings, one.name)
        if one.name in ("sdks", "metric_labels", "prices", "baggage"):
            value = _texts(one.name, value)
            changed: dict[str, Any] = {one.name: value}
            settings = replace(settings, **changed)
        _check_type(one.name, value)
        for word in value if isinstance(value, tuple) else (value,):
            allowed = _CHOICES.get(one.name)
            if allowed is not None and word not in allowed:
                raise ConfigurationError(f"{one.name}={word!r}: choose one of {', '.join(allowed)}")
    _check_hosts(settings)
    _check_names(settings)
    _check_numbers(settings)
    for name in ("metrics_token", "api_token"):
        check_token(name, getattr(settings, name))
    return settings


def _check_hosts(settings: Settings) -> None:
    for host, choice in settings.stream_usage.items():
        if choice not in ("auto", "always", "never"):
            raise ConfigurationError(
                f"stream_usage for {host!r} is {choice!r}: choose one of auto, always, never"
            )
    for host, provider in cast(Mapping[Any, Any], settings.hosts).items():
        if not isinstance(host, str) or not host or host == "*" or "/" in host:
            raise ConfigurationError(
                f"hosts: {host!r} for {provider!r} is no host: say its name, as llm.corp.example or "
                "llm.corp.example:8080"
            )
        known = isinstance(provider, str) and provider.strip().lower() in known_hosts.NAMED
        # one that nobody knows may be in a price file of the user's
        if not known and not (isinstance(provider, str) and provider.strip() and settings.prices):
            raise ConfigurationError(
                f"hosts: {host!r} is said to be {provider!r}: choose one of "
                f"{', '.join(sorted(known_hosts.NAMED))}; or name the price file that has its prices"
            )


_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
"""What Prometheus takes as a name everywhere, also where it could be quoted."""


def _check_names(settings: Settings) -> None:
    for setting, labels in (
        ("metric_labels", settings.metric_labels),
        ("baggage", settings.baggage),
    ):
        for label in labels:
            if not _NAME.fullmatch(label) or label.startswith("__"):
                raise ConfigurationError(f"{setting}: {label!r} is not a Prometheus label name")
            if labels.count(label) > 1:
                raise ConfigurationError(f"{setting}: {label!r} is there twice")
    if len(settings.baggage) > MOST_NAMES:
        raise ConfigurationError(f"baggage: at most {MOST_NAMES} names go along with a request")
    for name, agent in cast(Mapping[Any, Any], settings.agents).items():
        if not isinstance(name, str) or not all(map(str.isidentifier, name.split("."))):
            raise ConfigurationError(
                f"agents: {name!r} is no dotted name of a module, class or function"
            )
        if not isinstance(agent, str) or not agent:
            raise ConfigurationError(f"agents: {name!r} stands for {agent!r}: say an agent's name")
    if settings.namespace and not _NAME.fullmatch(settings.namespace):
        raise ConfigurationError(f"namespace={settings.namespace!r} is not a Prometheus name")
    if not settings.agent:
        raise ConfigurationError("agent='': say a name, or leave it out")


def _check_numbers(settings: Settings) -> None:
    if settings.max_label_values == 0:
        raise ConfigurationError("max_label_values=0: a label needs at least one value")
    if settings.metrics_port is not None and settings.metrics_port > _LAST_PORT:
        raise ConfigurationError(
            f"metrics_port={settings.metrics_port}: a port is at most {_LAST_PORT}"
        )


_LAST_PORT = 65535


def check_token(name: str, token: str | None) -> None:
    """`ConfigurationError` if nobody could present it; the token itself is not shown."""
    if token is None:
        return
    if not token or any(letter.isspace() or not letter.isprintable() for letter in token):
        raise ConfigurationError(
            f"{name} is empty, or has a space or a control character in it: nobody could present it. "
            "Choose another one, or leave it out"
        )


_TYPES: dict[str, tuple[type, ...]] = {
    "agent": (str,),
    "agents": (Mapping,),
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
    "api_token": (str, type(None)),
    "price_data": (str, type(None)),
    "application": (str, type(None)),
    "ledger": (str, type(None)),
    "ledger_journal": (str, type(None)),
    "durability": (str,),
    "estimate_learning": (str, type(None)),
    "threads": (bool,),
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
