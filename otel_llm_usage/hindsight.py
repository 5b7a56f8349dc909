"""What the calls in a ledger would have cost otherwise: on other models, at other tiers, at other prices.

Record by record, at the prices of the time of each, with few of them in memory at once.
"""

from collections.abc import Iterator, Mapping

from .comparison import Compared, Comparison, Elsewhere, WhatIf, is_named, is_of
from .ledger import Question, Reports, Repriced
from .ledger.reports import MOST_LINES
from .ledger.upkeep import NONE_REPRICED, Price, Progress, anew, is_priced_by_us, unheard
from .prices import Catalogue
from .records import Record


def passing(reports: Reports, question: Question, progress: Progress) -> Iterator[Record]:
    """The records of a question, the oldest first, and how far they have come."""
    of = reports.report(question._replace(by=())).total.records
    done = 0
    for record in reports.records(question):
        yield record
        done += 1
        if done % _STEP == 0:
            progress(done, max(done, of))  # somebody may have written meanwhile
    progress(done, done)


_STEP = 1_000


def what_if(
    reports: Reports,
    catalogue: Catalogue,
    question: Question,
    *,
    model: str | None = None,
    tier: str | None = None,
    provider: str | None = None,
    of_model: str | None = None,
    progress: Progress = unheard,
) -> WhatIf:
    """What the calls of a question would have cost; see `UsageScope.what_if`.

    Of the question `since`, `until`, `where` and `scope` hold.
    """
    elsewhere = Elsewhere(catalogue, model, tier, provider, sold=_sold(reports, question, model))
    asked = question if of_model is None else _narrowed(reports, question, of_model)
    for record in passing(reports, asked, progress):
        if of_model is None or is_of(record, of_model):
            elsewhere.add(record)
    return elsewhere.told()


def compare_models(
    reports: Reports,
    catalogue: Catalogue,
    question: Question,
    a: str,
    b: str,
    *,
    progress: Progress = unheard,
) -> Comparison:
    """Two models as they were used, and the calls of each on the other; see `UsageScope.compare_models`."""
    compared = Compared(catalogue, a, b, sold=[_sold(reports, question, model) for model in (a, b)])
    for record in passing(reports, _narrowed(reports, question, a, b), progress):
        compared.add(record)
    return compared.told()


def reprice(
    reports: Reports, price: Price, question: Question, *, progress: Progress = unheard
) -> Mapping[str, Repriced]:
    """What `Upkeep.reprice` would change, by model, the dearest first; nothing is written."""
    found: dict[str, Repriced] = {}
    for record in passing(reports, question, progress):
        if is_priced_by_us(record):
            _, told = anew(record, price)
            found[record.model] = found.get(record.model, NONE_REPRICED).plus(told)
    return dict(sorted(found.items(), key=lambda one: (-one[1].before_pico, one[0])))


# ------------------------------------------------------------ which models


def _names(reports: Reports, question: Question, *models: str) -> tuple[str, ...] | None:
    """By which names those answered that are these models, or were asked for as these; `None`: too many
    to tell."""
    by = ("platform", "model", "request_model")
    asked = question._replace(by=by, limit=MOST_LINES, offset=0, sort="")
    report = reports.report(asked)
    if report.groups > len(report.lines):
        return None
    return tuple(
        {
            answered
            for platform, answered, requested in (line.group for line in report.lines)
            for model in models
            if any(is_named(name, platform, model) for name in (answered, requested) if name)
        }
    )


def _narrowed(reports: Reports, question: Question, *models: str) -> Question:
    """The question, without most of the calls that are of other models."""
    names = _names(reports, question, *models)
    if names is None:
        return question
    also = question.where.get("model")
    if also is not None:
        names = tuple(name for name in names if name in also)
    return question._replace(where={**question.where, "model": names})


def _sold(reports: Reports, question: Question, model: str | None) -> Record | None:
    """The latest call of a model in that time, whoever made it: it tells who sells it."""
    if model is None:
        return None
    asked = _narrowed(reports, question._replace(where={}, scope=None), model)
    place = None
    while True:
        page, place = reports.latest(asked._replace(limit=_PAGE, offset=0), before=place)
        for record in page:
            if is_of(record, model):
                return record
        if place is None:
            return None


_PAGE = 100
