"""What may be asked for: each parameter with its JSON schema, by which it is checked and described."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..ledger import DIMENSIONS
from ..ledger.calendar import BUCKETS
from ..ledger.reports import MOST_LINES
from .problems import bad

Schema = Mapping[str, Any]

_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_OFFSET = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_WORDS = "now|today|yesterday|week|month|year"
MOMENT = f"({_WORDS}|[0-9]{{1,4}}[mhdw]|{_DATE}(T{_CLOCK}{_OFFSET}?)?)"
_NAMES = "|".join((*DIMENSIONS, "label:[^,=]+"))
_BY = "|".join((*DIMENSIONS, *BUCKETS, "label:[^,=]+"))
ALL, PERIOD = "all", "period"
"""Since the first record; since counting began anew."""


class Parameter(NamedTuple):
    """One word of a question."""

    name: str
    schema: Schema
    description: str
    needed: bool = False

    @property
    def many(self) -> bool:
        """Whether it may be there several times."""
        return bool(self.schema.get("type") == "array")


def _text(pattern: str, **more: Any) -> Schema:
    return {"type": "string", "pattern": f"^({pattern})$", **more}


SINCE = Parameter(
    "since",
    _text(f"{PERIOD}|{ALL}|{MOMENT}", examples=["7d", "today", "2026-11-24T10:00Z"]),
    "From then on: a time ago (`90m`, `24h`, `7d`, `4w`), the beginning of `today`, `yesterday`, this "
    "`week`, `month` or `year`, a date, a time in ISO 8601, `period` (since counting began anew), or "
    "`all`.",
)
UNTIL = Parameter(
    "until", _text(MOMENT), "Until then, which is not a part of it; written as `since`."
)
ZONE = Parameter(
    "zone",
    _text("[A-Za-z0-9_+/-]+", default="UTC", examples=["Europe/Berlin"]),
    "Whose days, weeks and months, and whose time where none is said.",
)
WHERE = Parameter(
    "where",
    {"type": "array", "items": _text(f"({_NAMES})=[\\s\\S]*")},
    "Only calls where this is so: `name=value`, such as `label:symbol=X`; of one name several may hold. "
    "Names are those of the other parameters, and `label:<name>`.",
)
SCOPE = Parameter("scope", {"type": "string"}, "Only calls of this usage scope.")
SORT = Parameter(
    "sort",
    {"type": "string", "enum": ["cost", "tokens", "calls", "seconds", "name"]},
    "Each the most first, or by name; by itself by time, and then by cost.",
)
LIMIT = Parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": MOST_LINES, "default": 100},
    "How many lines.",
)
OFFSET = Parameter(
    "offset",
    {"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0},
    "After how many.",
)
PREVIOUS = Parameter(
    "previous",
    {"type": "boolean", "default": False},
    "Also the time before, as long as this one.",
)
BY = Parameter(
    "by",
    _text(f"({_BY})(,({_BY}))*"),
    f"By what the lines differ, with commas: {', '.join((*DIMENSIONS, *BUCKETS))}, label:<name>.",
)
CURSOR = Parameter(
    "cursor", {"type": "string", "minLength": 1}, "Where the page begins: `next` of the one before."
)
DIMENSION = tuple(
    Parameter(name, {"type": "array", "items": {"type": "string"}}, f"Only calls with this {name}.")
    for name in DIMENSIONS
)

WHICH = (SINCE, UNTIL, ZONE, WHERE, SCOPE, *DIMENSION)
"""Which calls."""
LINES = (*WHICH, SORT, LIMIT, OFFSET, PREVIOUS)
"""And how they are shown."""


def read(parameters: Sequence[Parameter], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The values of a query; a `Problem` says which one is wrong, and what it takes."""
    known = {one.name: one for one in parameters}
    found: dict[str, Any] = {}
    for name, text in pairs:
        parameter = known.get(name)
        if parameter is None:
            raise bad(
                f"there is no parameter {name!r} here; there are: {', '.join(known) or 'none'}"
            )
        if parameter.many:
            found.setdefault(name, []).append(text)
        elif name in found:
            raise bad(f"{name} is there twice")
        else:
            found[name] = _meant(parameter.schema, text)
    return checked(parameters, found)


def checked(parameters: Sequence[Parameter], found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a query or of a body, if each is what its schema says."""
    known = {one.name: one for one in parameters}
    for name in found:
        if name not in known:
            raise bad(f"there is no field {name!r} here; there are: {', '.join(known) or 'none'}")
    for parameter in parameters:
        if parameter.name in found:
            wrong = _wrong(parameter.schema, found[parameter.name])
            if wrong:
                raise bad(f"{parameter.name}: {wrong}. {parameter.description}")
        elif parameter.needed:
            raise bad(f"{parameter.name} is missing: {parameter.description}")
    return dict(found)


def _meant(schema: Schema, text: str) -> Any:
    """What a text of a query stands for; the text itself if it can't be that."""
    if schema["type"] == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
        return int(text)
    if schema["type"] == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _wrong(schema: Schema, value: Any) -> str | None:
    """What is wrong with a value: the part of JSON Schema that is spoken here."""
    kind = schema.get("type")
    if kind is None:  # anything
        return None
    right = isinstance(value, _KINDS[kind]) and not (isinstance(value, bool) and kind != "boolean")
    if not right:
        return f"this takes {'an' if kind[0] in 'aio' else 'a'} {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{value!r}: it takes {', '.join(schema['enum'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if (low is not None and value < low) or (high is not None and value > high):
        return f"{value}: it takes {low} to {high}"
    pattern = schema.get("pattern")
    if pattern is not None and not re.fullmatch(pattern[1:-1], value, re.ASCII):
        return f"{value[:80]!r} is none"
    if kind in ("string", "array"):
        word = "Items" if kind == "array" else "Length"
        least, most = schema.get(f"min{word}", 0), schema.get(f"max{word}", math.inf)
        if not least <= len(value) <= most:
            return f"it has a length of {len(value)}"
    if kind == "array":
        return next(filter(None, (_wrong(schema["items"], one) for one in value)), None)
    if kind == "object" and "additionalProperties" in schema:
        inner = schema["additionalProperties"]
        return next(filter(None, (_wrong(inner, one) for one in value.values())), None)
    return None
