"""The endpoints: what each takes, and what it answers from the ledger."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, NamedTuple

from .. import hindsight
from ..errors import ConfigurationError
from ..ledger import Ledger, Place, Question, Report, Reports, Upkeep, asking
from ..ledger.rows import clean
from ..prices import Catalogue
from ..runtime import estimate
from ..tracking import call_detail
from . import parameters
from .parameters import DIMENSION, LINES, WHICH, Parameter
from .problems import Problem, bad


class Asked(NamedTuple):
    """A request that was found right."""

    ledger: Callable[[], Ledger]
    catalogue: Callable[[], Catalogue]
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]

    @property
    def reports(self) -> Reports:
        """What the ledger says."""
        return Reports(self.ledger())


class Operation(NamedTuple):
    """What a method of a path does."""

    name: str
    summary: str
    answer: Callable[[Asked], dict[str, Any]]
    """Runs in a thread."""
    result: str
    """The name of its schema."""
    query: tuple[Parameter, ...] = ()
    body: tuple[Parameter, ...] | None = None
    """The fields of the JSON object that is sent; `None`: nothing is."""
    status: HTTPStatus = HTTPStatus.OK
    finds: bool = False
    """Whether what is asked for may not be there."""


# ------------------------------------------------------------ what is asked


def _moment(asked: Asked, name: str, source: Mapping[str, Any]) -> datetime | None:
    text = source.get(name)
    if text is None or text == parameters.ALL:
        return None
    if text == parameters.PERIOD:
        return Upkeep(asked.ledger()).period()
    return asking.moment(text, _zone(source))


def _zone(source: Mapping[str, Any]) -> Any:
    return asking.time_zone(source.get("zone", "UTC"))


def _question(asked: Asked, *by: str, since: str = parameters.PERIOD, **only: str) -> Question:
    """`since`: where it is not said; `only`: what the path says of the calls."""
    query = asked.query
    where: dict[str, tuple[str, ...]] = dict(asking.filters(query.get("where", ())))
    for one in DIMENSION:
        if one.name in query:
            where[one.name] = (*where.get(one.name, ()), *query[one.name])
    where |= {name: (value,) for name, value in only.items()}
    scope = query.get("scope")
    return Question(
        _moment(asked, "since", {"since": since, **query}),
        _moment(asked, "until", query),
        by,
        {name: [clean(value) for value in values] for name, values in where.items()},
        None if scope is None else clean(scope),
        _zone(query),
        query.get("sort", ""),
        query.get("limit", 100),
        query.get("offset", 0),
    )


def _cursor(place: Place | None) -> str | None:
    if place is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _place(text: str | None) -> Place | None:
    if text is None:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        time, id_ = said
        if not isinstance(id_, str) or type(time) is not int or not 0 <= time < 2**63:
            raise ValueError
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise bad("cursor: this is none of ours: take `next` of the page before") from None
    return Place(time, clean(id_))


# ------------------------------------------------------------ what is answered


def _report(asked: Asked, *by: str, **only: str) -> dict[str, Any]:
    report = asked.reports.report(
        _question(asked, *by, **only), previous=asked.query.get("previous", False)
    )
    return _told(report)


def _told(report: Report) -> dict[str, Any]:
    others = report.others if report.question.by else None
    return {**report.to_dict(), "others": None if others is None else others.to_dict()}


def tokens(asked: Asked) -> dict[str, Any]:
    """The total, or the lines of `by`."""
    return _report(asked, *asking.names(asked.query.get("by", "")))


def by(asked: Asked) -> dict[str, Any]:
    """Lines by anything."""
    parameters.checked((parameters.BY,), {"by": asked.path["dimensions"]})
    return _report(asked, *asking.names(asked.path["dimensions"]))


def models(asked: Asked) -> dict[str, Any]:
    """Lines by model."""
    return _report(asked, "model")


def agents(asked: Asked) -> dict[str, Any]:
    """Lines by agent."""
    return _report(asked, "agent")


def models_of_agent(asked: Asked) -> dict[str, Any]:
    """The models of an agent."""
    return _report(asked, "model", agent=asked.path["agent"])


def models_of_user(asked: Asked) -> dict[str, Any]:
    """The models of a user."""
    return _report(asked, "model", user=asked.path["user"])


def calls(asked: Asked) -> dict[str, Any]:
    """The latest records."""
    question = _question(asked, since=parameters.ALL)
    records, end = asked.reports.latest(question, before=_place(asked.query.get("cursor")))
    return {"calls": list(map(call_detail, records)), "next": _cursor(end)}


def scopes(asked: Asked) -> dict[str, Any]:
    """The latest scopes."""
    lines, end = asked.reports.scopes(
        asked.query.get("limit", 100), before=_place(asked.query.get("cursor"))
    )
    return {"scopes": [line.to_dict() for line in lines], "next": _cursor(end)}


_OF_A_SCOPE = 20
"""Calls that a scope shows one by one."""


def scope(asked: Asked) -> dict[str, Any]:
    """All of one scope."""
    id_ = clean(asked.path["id"])
    reports = asked.reports
    parts = reports.scope(id_)
    total = parts["agent"].total
    if not total.records:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such scope: /analytics/scopes lists them")
    calls = Question(scope=id_, limit=_OF_A_SCOPE)
    failed = calls._replace(where={"status": ("error", "broken")})
    return {
        "id": id_,
        "total": total.to_dict(),
        **{f"by_{part}": one.to_dict()["lines"] for part, one in parts.items()},
        "failures": list(map(call_detail, reports.latest(failed)[0])),
        "latest": list(map(call_detail, reports.latest(calls)[0])),
    }


def compare(asked: Asked) -> dict[str, Any]:
    """Two models as they were used, and the traffic of each at the prices of the other."""
    body = asked.body
    question = Question(
        _moment(asked, "since", {"since": parameters.PERIOD, **body}),
        _moment(asked, "until", body),
        where={
            name: [clean(value) for value in values]
            for name, values in body.get("where", {}).items()
        },
        zone=_zone(body),
    )
    found = hindsight.compare_models(asked.reports, asked.catalogue(), question, *body["models"])
    return {
        "since": None if question.since is None else question.since.isoformat(),
        "until": None if question.until is None else question.until.isoformat(),
        **found.to_dict(),
    }


def reset(asked: Asked) -> dict[str, Any]:
    """Begin to count anew; nothing is deleted."""
    note = asked.body.get("note")
    began = Upkeep(asked.ledger()).begin_period(note)
    return {"began": began.isoformat(), "note": note}


def estimate_usage(asked: Asked) -> dict[str, Any]:
    """What a call would use and cost."""
    said = {**asked.query, **asked.body}
    try:
        return estimate(said.pop("model"), said.pop("contents"), **said).to_dict()
    except ConfigurationError as error:
        raise bad(str(error)) from None


def ready(asked: Asked) -> dict[str, Any]:
    """Whether the ledger answers."""
    Upkeep(asked.ledger()).period()
    return {"status": "ready"}


def healthy(asked: Asked) -> dict[str, Any]:
    """That the process is alive."""
    return {"status": "ok"}


# ------------------------------------------------------------ where it is

_TEXT = {"type": "string", "minLength": 1}
_ESTIMATE = (
    Parameter("model", _TEXT, "The model that would be asked.", needed=True),
    Parameter("contents", _TEXT, "The text that would be sent.", needed=True),
    Parameter("system", _TEXT, "The system prompt."),
    Parameter(
        "max_output_tokens",
        {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        "How long the answer may be.",
    ),
    Parameter("provider", _TEXT, "Who sells the model, where that is not whose it is."),
    Parameter("service_tier", _TEXT, "The tier, such as `batch`."),
)
_ESTIMATE_BODY = (
    *(one._replace(schema={}) if one.name in ("contents", "system") else one for one in _ESTIMATE),
    Parameter("tools", {}, "The tools, as the SDK takes them."),
)
_ESTIMATE_BODY = tuple(
    one._replace(
        description="What the SDK's method is given: a text, messages, or a whole request."
    )
    if one.name == "contents"
    else one
    for one in _ESTIMATE_BODY
)
_COMPARE = (
    Parameter(
        "models",
        {"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2},
        "Two models; without a date a name stands for all its snapshots.",
        needed=True,
    ),
    parameters.SINCE,
    parameters.UNTIL,
    parameters.ZONE,
    Parameter(
        "where",
        {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "Only calls where each of these names has one of its values.",
    ),
)
_RESET = (Parameter("note", {"type": "string", "maxLength": 1000}, "Why; kept with the period."),)
_PAGE = (parameters.LIMIT, parameters.CURSOR)
_FEWER = parameters.LIMIT._replace(schema={**parameters.LIMIT.schema, "maximum": 500})
"""Each scope is added up by itself."""


def _but(name: str) -> tuple[Parameter, ...]:
    return tuple(one for one in LINES if one.name != name)


OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    "/analytics/tokens": {
        "GET": Operation(
            "tokens", "What all calls used and cost.", tokens, "Report", (*LINES, parameters.BY)
        )
    },
    "/analytics/tokens/models": {
        "GET": Operation("models", "The same by model.", models, "Report", LINES)
    },
    "/analytics/tokens/agents": {
        "GET": Operation("agents", "The same by agent.", agents, "Report", LINES)
    },
    "/analytics/tokens/agents/{agent:path}/models": {
        "GET": Operation(
            "models_of_agent",
            "An agent's calls by model.",
            models_of_agent,
            "Report",
            _but("agent"),
        )
    },
    "/analytics/tokens/users/{user:path}": {
        "GET": Operation(
            "models_of_user", "A user's calls by model.", models_of_user, "Report", _but("user")
        )
    },
    "/analytics/tokens/by/{dimensions:path}": {
        "GET": Operation("by", "The same by anything: `agent,day`.", by, "Report", LINES)
    },
    "/analytics/tokens/compare": {
        "POST": Operation(
            "compare",
            "Two models as they were used, and the calls of each at the prices of the other.",
            compare,
            "Comparison",
            body=_COMPARE,
        )
    },
    "/analytics/tokens/reset": {
        "POST": Operation(
            "reset",
            "Begin to count anew, for those who ask since then. Deletes nothing.",
            reset,
            "Period",
            body=_RESET,
            status=HTTPStatus.CREATED,
        )
    },
    "/analytics/scopes": {
        "GET": Operation(
            "scopes",
            "The scopes with the latest calls.",
            scopes,
            "Scopes",
            (_FEWER, parameters.CURSOR),
        )
    },
    "/analytics/scopes/{id:path}": {
        "GET": Operation("scope", "All of one scope.", scope, "Scope", finds=True)
    },
    "/analytics/calls": {
        "GET": Operation("calls", "The latest calls.", calls, "Calls", (*WHICH, *_PAGE))
    },
    "/usage/estimate": {
        "GET": Operation(
            "estimate_text",
            "What a call would use and cost, before it is made.",
            estimate_usage,
            "Estimate",
            _ESTIMATE,
        ),
        "POST": Operation(
            "estimate",
            "The same for messages, tools and pictures.",
            estimate_usage,
            "Estimate",
            body=_ESTIMATE_BODY,
        ),
    },
    "/healthz": {"GET": Operation("healthz", "Whether the process is alive.", healthy, "Status")},
    "/readyz": {"GET": Operation("readyz", "Whether the ledger answers.", ready, "Status")},
}
"""What each path answers."""

OPEN = ("/healthz", "/readyz")
"""What is answered without a token."""
