"""What the commands over a ledger share: where it is, of which calls, and how far they are."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import ConfigurationError
from ..ledger import Ledger, Question, asking, opened
from ..ledger.upkeep import unheard
from ..settings import Settings, load, variables

F = TypeVar("F", bound=Callable[..., Any])


def chosen(place: str | None) -> Settings:
    """The settings, with the ledger that was named, if one was; `ConfigurationError` if there is none."""
    settings = load({}) if place is None else load({"ledger": place})
    if not settings.ledger:
        raise ConfigurationError(
            f"which ledger? say --ledger usage.db, or set {variables()['ledger']} or `ledger` in the "
            "settings file"
        )
    return settings


@contextmanager
def ledger(place: str | None, *, new: bool = False) -> Iterator[Ledger]:
    """The ledger that was named, else that of the settings; `new`: make it if there is none."""
    settings = chosen(place)
    # a journal belongs to the ledger of the settings
    journal = settings.ledger_journal if place is None else None
    with opened(str(settings.ledger), journal=journal, new=new) as found:
        yield found


def ledger_option(command: F) -> F:
    """`--ledger`."""
    return click.option(
        "--ledger",
        "place",
        metavar="PLACE",
        help="The path of an SQLite file, or postgresql://user@host/name.  [default: the setting]",
    )(command)


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="For programs.")(command)


class Calls(NamedTuple):
    """Of which calls something is asked, as it was written."""

    since: str | None
    until: str | None
    where: tuple[str, ...]
    agent: str | None
    scope: str | None
    zone: str

    def question(self) -> Question:
        """The question. `BadQuestion` if it can't be one."""
        zone = asking.time_zone(self.zone)
        own = () if self.agent is None else (f"agent={self.agent}",)
        return Question(
            since=None if self.since is None else asking.moment(self.since, zone),
            until=None if self.until is None else asking.moment(self.until, zone),
            where=asking.filters((*self.where, *own)),
            scope=self.scope,
            zone=zone,
        )


def calls_options(since: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--since` (this, if nobody says), `--until`, `--where`, `--agent`, `--scope`, `--zone`: as `calls`."""
    options: tuple[Callable[[Any], Any], ...] = (
        click.option(
            "--since",
            default=since,
            show_default=since or "the first call",
            help="From then on: 7d, 24h, today, month, 2026-11-24, 2026-11-24T10:00Z.",
        ),
        click.option("--until", help="Until then, which is not a part of it."),
        click.option(
            "--where",
            multiple=True,
            metavar="NAME=VALUE",
            help="Only these calls; may be repeated: the same name again is another value that it may have.",
        ),
        click.option("--agent", help="Short for --where agent=…"),
        click.option("--scope", metavar="ID", help="Only calls of this usage scope."),
        click.option("--zone", default="UTC", show_default=True, help="As Europe/Berlin."),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def called(**given: Any) -> Any:
            calls = Calls(*(given.pop(name) for name in Calls._fields))
            return command(calls=calls, **given)

        for option in reversed(options):
            option(called)  # it keeps its parameter there
        return called

    return decorate


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], object]]:
    """A bar on the terminal, while it lasts; nothing where there is none."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield unheard
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        yield tell


def confirmed(question: str, yes: bool) -> None:
    """Go on only if somebody says so; what is no terminal must have said `--yes`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.ClickException(f"{question} Nobody can be asked here: say --yes")
    click.confirm(question, abort=True)
