"""The smaller models of a family, as the price catalogue lists them: `gpt-4.1-mini` of `gpt-4.1`."""

from ..prices import Catalogue, models, names
from ..records import KINDS, Reading, Record

_SIZES = frozenset(
    {"nano", "micro", "mini", "lite", "flash", "small", "medium", "large", "pro"}
    | {"haiku", "sonnet", "opus"}
)
"""Words of a name that tell the size of a model; all others tell its family and generation."""
_INPUT, _OUTPUT = KINDS.index("input"), KINDS.index("output")


def cheaper(catalogue: Catalogue, record: Record) -> list[str]:
    """The models of the same family and vendor whose input and output cost less, the dearest first."""
    request = record.request
    own = names.parse(record.model, request.platform).text
    family = _family(own)
    here = _rates(catalogue, record, record.model)
    found = []
    for name in models(catalogue, request.vendor):
        if _family(name) != family or _undated(name) != name or name == _undated(own):
            continue
        there = _rates(catalogue, record, name)
        if here and there and there[0] < here[0] and there[1] < here[1]:
            found.append((there[1], there[0], name))
    return [name for _, _, name in sorted(found, reverse=True)]


def _undated(name: str) -> str:
    shorter = names.shorter(name)
    return shorter[0] if shorter else name


def _family(name: str) -> tuple[str, ...]:
    return tuple(word for word in _undated(name).split("-") if word not in _SIZES)


def _rates(catalogue: Catalogue, record: Record, model: str) -> tuple[float, float] | None:
    """Input and output at the time of the record, at the plain tier."""
    request = record.request._replace(model=model, tier=None)
    card = catalogue.card(request, Reading(model=model), record.time)
    rates = card.rates[_INPUT], card.rates[_OUTPUT]
    if rates[0] is None or rates[1] is None:
        return None
    return rates[0].pico / card.scale, rates[1].pico / card.scale
