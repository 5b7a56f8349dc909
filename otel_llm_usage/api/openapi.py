"""The description of the API (OpenAPI 3.1), made of what the endpoints check by."""

import re
from collections.abc import Mapping
from typing import Any

from .._version import __version__
from ..records import KINDS
from .endpoints import OPEN, OPERATIONS, Operation
from .parameters import BY, Parameter
from .problems import PROBLEM

_MOST_BODY = "A body of more than 4 MiB is refused."


def _of(kind: str | list[str], description: str = "") -> dict[str, Any]:
    return {"type": kind} | ({"description": description} if description else {})


def _money(description: str, *, known: bool = True) -> dict[str, Any]:
    kind = "string" if known else ["string", "null"]
    return _of(kind, description) | {"pattern": r"^-?[0-9]+(\.[0-9]+)?$"}


def _object(fields: Mapping[str, Any], *optional: str, more: Any = False) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
        "additionalProperties": more,
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


_COUNT = {"type": "integer"}
_NUMBER = _of(["number", "null"])
_TEXT = _of("string")
_MAYBE = _of(["string", "null"])
_WHEN = _MAYBE | {"format": "date-time"}
_NEXT = _of(["string", "null"], "The `cursor` of the next page; `null` if this is the last one.")
_KINDS = {"type": "object", "properties": dict.fromkeys(KINDS, _COUNT)}

_SUM = {
    "calls": _COUNT
    | {"description": "Requests; `successes`, `failures` and `aborted` add up to it."},
    "successes": _COUNT,
    "failures": _COUNT,
    "aborted": _COUNT | {"description": "Streams that the caller left early."},
    "billed": _COUNT,
    "input_tokens": _COUNT | {"description": "All of the input side, caches included."},
    "output_tokens": _COUNT | {"description": "All of the output side, reasoning included."},
    "reasoning_tokens": _COUNT,
    "cached_tokens": _COUNT,
    "embedding_tokens": _COUNT,
    "total_tokens": _COUNT,
    "tokens": _KINDS | {"description": "By kind; disjoint."},
    "cost_usd": _money("US dollars, exact; `null` while any price is unknown.", known=False),
    "known_cost_usd": _money("US dollars of what has a price: the cost, or its lower bound."),
    "unpriced": _COUNT | {"description": "Records of which a part has no known price."},
    "missing_usage": _COUNT | {"description": "Calls of which nobody said how many tokens."},
    "saved_usd": _money("US dollars that caches have saved; negative where writing cost more."),
    "wasted_usd": _money("US dollars of calls that failed, broke off or were left."),
    "estimated": _COUNT | {"description": "Records whose token counts are our estimate."},
    "estimated_usd": _money("US dollars of these."),
    "seconds": _of("number", "All durations together."),
    "average_seconds": _NUMBER,
    "shortest_seconds": _NUMBER,
    "longest_seconds": _NUMBER,
    "average_tokens": _NUMBER,
    "average_cost_usd": _money("US dollars of a call.", known=False),
}
_BESIDE = {
    "previous": _object(
        {
            "calls": _COUNT,
            "total_tokens": _COUNT,
            "known_cost_usd": _money("US dollars of the time before."),
            "unpriced": _COUNT,
        }
    ),
    "change_usd": _money("US dollars more than in the time before."),
}
_CALL = {
    "id": _TEXT,
    "time": _of("number", "Seconds since 1970."),
    **dict.fromkeys(
        (
            "call_type",
            "agent",
            "provider",
            "model",
            "operation",
            "status",
            "usage_source",
            "cost_status",
        ),
        _TEXT,
    ),
    **dict.fromkeys(("asked_model", "tier", "error_type", "error_message"), _MAYBE),
    **dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), _of(["integer", "null"])),
    "tokens": _KINDS,
    "units": {"type": "object", "additionalProperties": _TEXT},
    "cost_usd": _money("US dollars; `null` if not known.", known=False),
    "known_cost_usd": _money("US dollars of what has a price."),
    "cost_reasons": _list(_TEXT),
    "seconds": _NUMBER,
    "seconds_to_first_chunk": _NUMBER,
    "labels": {"type": "object", "additionalProperties": _TEXT},
}
_FIGURES = {
    "model": _TEXT,
    "calls": _COUNT,
    "failures": _COUNT,
    **dict.fromkeys(("input_tokens", "output_tokens", "total_tokens", "average_seconds"), _NUMBER),
    "usd_per_call": _money("", known=False),
    "total_usd": _money("", known=False),
    "known_usd": _money(""),
}
_WHAT_IF = {
    **dict.fromkeys(("model", "provider", "tier"), _MAYBE),
    "calls": _COUNT,
    "actual_usd": _money("", known=False),
    "other_usd": _money("", known=False),
    "known_other_usd": _money(""),
    "difference_usd": _money("", known=False),
    "ratio": _NUMBER,
    "unpriced": _COUNT,
    "left_out": _COUNT,
    "assumed": _list(_TEXT),
}
_LINES = _list(_ref("Line"))

SCHEMAS: Mapping[str, Any] = {
    "Sum": _object(_SUM | _BESIDE, *_BESIDE),
    "Line": _object(_SUM | _BESIDE, *_BESIDE, more=_TEXT)
    | {
        "description": "A sum, and by name what its calls share: text, or when a piece of time begins."
    },
    "Report": _object(
        {
            "since": _WHEN,
            "until": _WHEN,
            "by": _list(_TEXT),
            "groups": _COUNT | {"description": "How many lines there are in all."},
            "total": _ref("Sum"),
            "lines": _LINES,
            "others": {
                "oneOf": [_ref("Sum"), {"type": "null"}],
                "description": "What is in the total and in no line here.",
            },
        }
    ),
    "Call": _object(_CALL),
    "Calls": _object({"calls": _list(_ref("Call")), "next": _NEXT}),
    "ScopeLine": _object({"id": _TEXT, "began": _WHEN, "latest": _WHEN, **_SUM}),
    "Scopes": _object({"scopes": _list(_ref("ScopeLine")), "next": _NEXT}),
    "Scope": _object(
        {
            "id": _TEXT,
            "total": _ref("Sum"),
            **dict.fromkeys(("by_call_type", "by_agent", "by_model"), _LINES),
            **dict.fromkeys(("failures", "latest"), _list(_ref("Call"))),
        }
    ),
    "Comparison": _object(
        {
            "since": _WHEN,
            "until": _WHEN,
            **dict.fromkeys(("a", "b"), _object(_FIGURES)),
            **dict.fromkeys(("ratio", "tokens_ratio"), _NUMBER),
            **dict.fromkeys(("a_on_b", "b_on_a"), _object(_WHAT_IF)),
        }
    ),
    "Estimate": _object(
        {
            "model": _TEXT,
            "provider": _TEXT,
            **dict.fromkeys(("input_tokens", "input_tokens_low", "input_tokens_high"), _COUNT),
            "max_output_tokens": _of(["integer", "null"]),
            "input_usd": _money("US dollars of the input.", known=False),
            "max_usd": _money("US dollars of the input and of the longest answer.", known=False),
            "method": _TEXT,
            "error_band": _of("number", "By how much the input may be wrong: 0.3 is 30 %."),
            "assumed": _list(_TEXT),
            "reasons": _list(_TEXT),
        }
    ),
    "Period": _object({"began": _WHEN, "note": _MAYBE}),
    "Status": _object({"status": _TEXT}),
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": _COUNT, "detail": _of("string", "What to do.")}
    ),
}

_PROBLEMS = {
    "400": "What is asked cannot be answered.",
    "401": "A bearer token is needed.",
    "404": "There is no such thing.",
    "405": "This path takes another method.",
    "413": _MOST_BODY,
    "415": "The body has to be application/json.",
    "421": "This host name is not served here.",
    "503": "The ledger does not answer: ask again later.",
}


def document(root: str, *, token: bool) -> dict[str, Any]:
    """The description of an API under the path `root`; `token`: whether it takes one."""
    paths: dict[str, Any] = {}
    for path, methods in OPERATIONS.items():
        paths[re.sub(r":\w+", "", path)] = {
            method.lower(): _operation(path, one) for method, one in methods.items()
        }
    paths["/metrics"] = {
        "get": _plain("metrics", "The Prometheus metrics of this process.", _METRICS)
    }
    secured: dict[str, Any] = {"security": [{"bearer": []}]} if token else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "otel-llm-usage",
            "version": __version__,
            "description": "What LLM calls used and cost, from the ledger. Dollars are text, exact.",
        },
        "servers": [{"url": root or "/"}],
        **secured,
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            **(
                {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}}
                if token
                else {}
            ),
        },
    }


_METRICS = ("text/plain", "application/openmetrics-text")


def _plain(name: str, summary: str, media: tuple[str, ...]) -> dict[str, Any]:
    content = {one: {"schema": _TEXT} for one in media}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": content}, **_refused("401")},
    }


def _refused(*statuses: str) -> dict[str, Any]:
    content = {PROBLEM: {"schema": _ref("Problem")}}
    told = {status: {"description": _PROBLEMS[status], "content": content} for status in statuses}
    return told | {"default": {"description": "A problem.", "content": content}}


def _operation(path: str, one: Operation) -> dict[str, Any]:
    inside = re.findall(r"{(\w+)", path)
    problems = ["400", "401", "405", "421", "503"]
    if one.finds:
        problems.append("404")
    body = {}
    if one.body is not None:
        problems += ["413", "415"]
        body = {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _fields(one.body)}},
            }
        }
    content = {"application/json": {"schema": _ref(one.result)}}
    answers: dict[str, Any] = {
        str(one.status.value): {"description": one.summary, "content": content}
    }
    if one.body is None:
        answers["304"] = {"description": "As before: see `If-None-Match`."}
    return {
        "operationId": one.name,
        "summary": one.summary,
        "parameters": [
            *(_in_path(name) for name in inside),
            *(_in_query(parameter) for parameter in one.query),
        ],
        **body,
        "responses": {**answers, **_refused(*sorted(problems))},
        **({"security": []} if path in OPEN else {}),
    }


def _in_path(name: str) -> dict[str, Any]:
    from_by = {"pattern": BY.schema["pattern"]} if name == "dimensions" else {}
    schema = {"type": "string", "minLength": 1, **from_by}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.needed,
        "description": parameter.description,
        "schema": dict(parameter.schema),
        **({"explode": True} if parameter.many else {}),
    }


def _fields(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            one.name: {**one.schema, "description": one.description} for one in parameters
        },
        "required": [one.name for one in parameters if one.needed],
        "additionalProperties": False,
    }
