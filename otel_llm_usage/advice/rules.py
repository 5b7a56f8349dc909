"""The rules by which something is found; each looks at one habit, or at all of them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from ..records import PICO
from .finding import Finding
from .habits import CACHED_FOR, Habit, Who, usd

Habits = Mapping[Who, Habit]

ENOUGH = 20
"""Calls from which on a habit is one."""
CACHEABLE = 1024
"""Input tokens that a prompt needs, at least, to be cached; some models ask for more."""
STEADY = 0.7
"""Inputs are alike if nine in ten have at least this share of the middle one."""
UNCACHED = 0.01
"""A share of cached input that is as good as nothing."""
BEHIND = 0.2
"""By how much the share of cached input has to be less than that of the agent's other calls."""
FAR = 8.0
"""How many deviations (of the middle deviation, as of a normal distribution) an outlier is away."""
FEW = 0.05
"""The share of calls that outliers may be: of more it is a habit."""
THINKING = 0.5
"""The share of the cost from which on reasoning is worth a look."""
AT_ONCE = 0.9
"""The share of the calls that a nightly or daily job makes within `JOB_HOURS`."""
JOB_HOURS = 3
JOB_DAYS = 3
JOB_CALLS = 50
ESTIMATED = 0.05
"""The share of the dollars from which on estimates are worth a look."""


def about(who: Who) -> dict[str, str]:
    """Whose calls, for people."""
    told = {"agent": who.agent, "call_type": who.call_type, "model": who.model}
    return {word: value for word, value in told.items() if value}


def uncached_prefix(who: Who, habit: Habit) -> Finding | None:
    """Large inputs of the same size, one soon after the other, and nothing of them from a cache."""
    calls = len(habit.inputs)
    if calls < ENOUGH or habit.cache_share >= UNCACHED or habit.writes:
        return None
    ordered = sorted(habit.inputs)
    least, middle = ordered[(calls - 1) // 10], ordered[(calls - 1) // 2]
    rates = habit.rates()
    if least < CACHEABLE or least < STEADY * middle or rates.spared <= 0:
        return None
    written = calls - habit.soon_after
    saved = least * (habit.soon_after * rates.spared - written * rates.premium)
    if saved <= 0:
        return None
    marked = who.vendor == "anthropic"
    return Finding(
        "uncached_prefix",
        about(who),
        round(saved),
        f"{calls:,} calls send about {middle:,} input tokens each, and nothing is read from a cache",
        {
            "calls": calls,
            "soon_after_another": habit.soon_after,
            "within_seconds": CACHED_FOR,
            "input_tokens_of_nine_in_ten": least,
            "input_tokens_middle": middle,
            "cache_share": habit.cache_share,
            "saved_per_million_tokens_usd": usd(rates.spared * 10**6),
            "premium_per_million_tokens_usd": usd(rates.premium * 10**6),
        },
        tuple(habit.latest),
        "The ledger holds no prompts. That their first part is the same is concluded from their even "
        "size; if it is not, there is nothing to save.",
        "Mark the part that stays the same with cache_control."
        if marked
        else "Put what stays the same first (instructions, tools, examples) and what changes last: the "
        "provider caches the beginning by itself.",
    )


def cache_below_others(habits: Habits, found: Sequence[Finding]) -> Iterator[Finding]:
    """Calls that read less from caches than others of the same agent do."""
    known = [one.about for one in found if one.kind == "uncached_prefix"]
    for who, habit in habits.items():
        if len(habit.inputs) < ENOUGH or about(who) in known:
            continue
        ordered = sorted(habit.inputs)
        if ordered[(len(ordered) - 1) // 2] < CACHEABLE:
            continue
        others = {
            other: one.cache_share
            for other, one in habits.items()
            if other != who
            and (other.agent, other.vendor) == (who.agent, who.vendor)
            and len(one.inputs) >= ENOUGH
        }
        best = max(others, key=lambda other: others[other], default=None)
        rates = habit.rates()
        if best is None or others[best] - habit.cache_share < BEHIND or rates.spared <= 0:
            continue
        total = habit.sum.input_tokens
        more = round(others[best] * total) - habit.sum.cached_tokens
        yield Finding(
            "cache_below_others",
            about(who),
            round(more * rates.spared),
            f"{100 * habit.cache_share:.0f}% of the input comes from caches; of other calls of this "
            f"agent {100 * others[best]:.0f}% does",
            {
                "calls": habit.sum.calls,
                "input_tokens": total,
                "cache_share": habit.cache_share,
                "cache_share_of_others": others[best],
                "others": about(best),
                "saved_per_million_tokens_usd": usd(rates.spared * 10**6),
            },
            tuple(habit.latest),
            "Prompts of another kind may have less that stays the same.",
            "Compare how the prompts begin: whatever differs early (dates, ids, names) ends what is cached.",
        )


def cache_costs_more(who: Who, habit: Habit) -> Finding | None:
    """Caches that are written more than they are read."""
    saved = habit.sum.saved_pico
    if saved >= 0:
        return None
    return Finding(
        "cache_costs_more",
        about(who),
        -saved,
        "Writing to caches cost more than reading from them saved",
        {
            "calls": habit.sum.calls,
            "cache_write_tokens": habit.writes,
            "cache_read_tokens": habit.sum.cached_tokens,
        },
        tuple(habit.latest),
        "None about the past: these are the prices of the tokens that were billed.",
        "Cache what is asked again within the cache's time only, or leave the marks out.",
    )


def cheaper_model(who: Who, habit: Habit) -> Finding | None:
    """What a smaller model of the same family would have cost."""
    told = {
        model: what_if
        for model, what_if in ((name, one.told()) for name, one in habit.smaller.items())
        if what_if.calls >= ENOUGH
    }
    saved = {
        model: -what_if.difference_usd
        for model, what_if in told.items()
        if what_if.difference_usd is not None and what_if.difference_usd < 0
    }
    if not saved:
        return None
    nearest = next(iter(saved))
    calls = told[nearest].calls
    return Finding(
        "cheaper_model",
        about(who),
        int(saved[nearest] * PICO),
        f"The same tokens cost {_percent(saved[nearest], told[nearest].actual_usd)} less on {nearest}",
        {
            "calls": calls,
            "cost_usd": f"{told[nearest].actual_usd:f}",
            "saved_usd": {model: f"{amount:f}" for model, amount in saved.items()},
            "output_tokens_of_a_call": round(habit.sum.output_tokens / habit.sum.calls),
            "assumed": list(told[nearest].assumed),
        },
        tuple(habit.latest),
        "This says nothing of quality: a smaller model answers otherwise, at another length, and may "
        "have to be asked again.",
        f"Try {nearest} on a sample of these calls and judge the answers.",
    )


def _percent(part: Decimal, whole: Decimal | None) -> str:
    return f"{100 * part / whole:.0f}%" if whole else "?"


def outliers(who: Who, habit: Habit) -> Finding | None:
    """Single calls that cost far more than the others."""
    costs = sorted(habit.costs)
    calls = len(costs)
    if calls < ENOUGH:
        return None
    middle = costs[(calls - 1) // 2]
    deviation = sorted(abs(cost - middle) for cost in costs)[(calls - 1) // 2]
    limit = middle + max(round(FAR * 1.4826 * deviation), middle)
    far = [cost for cost in costs if cost > limit]
    if not far or len(far) > max(1, math.floor(FEW * calls)):
        return None
    return Finding(
        "outliers",
        about(who),
        sum(far) - len(far) * middle,
        f"{_count(len(far), 'call')} of {calls:,} cost more than {usd(limit)} dollars; the middle one "
        f"costs {usd(middle)}",
        {
            "calls": calls,
            "outliers": len(far),
            "middle_usd": usd(middle),
            "middle_deviation_usd": usd(deviation),
            "limit_usd": usd(limit),
            "dearest_usd": usd(far[-1]),
        },
        habit.dearest(limit),
        "They may have been worth it: the ledger does not know what they were for.",
        "Look at what was asked in the examples, and bound the input, max_output_tokens or the turns of "
        "a loop.",
    )


def paid_for_nothing(who: Who, habit: Habit) -> Finding | None:
    """What was paid for calls that failed, broke off or were left early."""
    pico = habit.sum.wasted_pico
    if not pico:
        return None
    return Finding(
        "paid_for_nothing",
        about(who),
        pico,
        f"{_count(sum(one.calls for one in habit.wasted.values()), 'call')} of {habit.sum.calls:,} did "
        "not come to their end, and were billed",
        {
            status: {"calls": one.calls, "usd": usd(one.pico), "estimated": one.estimated}
            for status, one in habit.wasted.items()
        },
        habit.lost,
        "Of a stream that was left early the rest is often estimated; whoever left it may have had what "
        "was wanted.",
        "Where callers leave streams early, ask for less; where streams break, look at time limits on the "
        "way and at retries.",
    )


def reasoning(who: Who, habit: Habit) -> Finding | None:
    """Thinking that costs more than everything else."""
    pico, whole = habit.reasoning_pico, habit.sum.pico
    if habit.sum.calls < ENOUGH or not whole or pico < THINKING * whole:
        return None
    return Finding(
        "reasoning",
        about(who),
        pico,
        f"{100 * pico / whole:.0f}% of the cost is reasoning",
        {
            "calls": habit.sum.calls,
            "reasoning_tokens": habit.sum.reasoning_tokens,
            "output_tokens": habit.sum.output_tokens,
            "cost_usd": usd(whole),
        },
        tuple(habit.latest),
        "The dollars are all of the reasoning: less of it saves a part of them, and may answer worse.",
        "Try a lower reasoning effort or a smaller thinking budget on a sample.",
    )


def batch(who: Who, habit: Habit) -> Finding | None:
    """A job that runs at the same hours of several days, and for which nobody seems to wait."""
    calls = habit.sum.calls
    if (
        habit.batched is None
        or habit.waited_for
        or habit.cheap_tier
        or calls < JOB_CALLS
        or len(habit.days) < JOB_DAYS
    ):
        return None
    windows = [sum(habit.hours[(at + hour) % 24] for hour in range(JOB_HOURS)) for at in range(24)]
    begin = max(range(24), key=lambda at: windows[at])
    told = habit.batched.told()
    if windows[begin] < AT_ONCE * calls or told.difference_usd is None or told.difference_usd >= 0:
        return None
    share = windows[begin] / calls
    return Finding(
        "batch",
        about(who),
        int(-told.difference_usd * PICO),
        f"{100 * share:.0f}% of {calls:,} calls come between {begin}:00 and "
        f"{(begin + JOB_HOURS) % 24}:00 UTC, without streams, users and sessions",
        {
            "calls": calls,
            "days": len(habit.days),
            "share_in_these_hours": share,
            "cost_usd": None if told.actual_usd is None else f"{told.actual_usd:f}",
            "batch_usd": None if told.other_usd is None else f"{told.other_usd:f}",
        },
        tuple(habit.latest),
        "That nobody waits for them is a guess from when and how they are made. A batch may take a day, "
        "and calls that build on each other can't be in one.",
        "Send them as a batch, if a day is soon enough.",
    )


def unpriced(habits: Habits) -> Iterator[Finding]:
    """Models whose money nobody sees."""
    models: dict[tuple[str, str], list[Habit]] = {}
    for who, habit in habits.items():
        if habit.sum.unpriced:
            models.setdefault((who.provider, who.model), []).append(habit)
    for (provider, model), of in models.items():
        records = sum(habit.sum.unpriced for habit in of)
        reasons = sorted({reason for habit in of for reason in habit.reasons})
        yield Finding(
            "unpriced",
            {"provider": provider, "model": model},
            None,
            f"{_count(records, 'record')} {'has' if records == 1 else 'have'} no known price, or not for "
            "all of it",
            {
                "records": records,
                "tokens": sum(habit.unpriced_tokens for habit in of),
                "missing_usage": sum(habit.sum.missing for habit in of),
                "reasons": reasons,
            },
            tuple(id_ for habit in of for id_ in habit.unseen)[:3],
            "How many dollars these are is not known; no sum holds them.",
            "Put the price into a price file (`otel-llm-usage prices show MODEL`), then `otel-llm-usage "
            "reprice`."
            if any(not reason.startswith(_NO_USAGE) for reason in reasons)
            else "See that the provider tells the usage: read streams to their end, and ask for it.",
        )


_NO_USAGE = ("no_usage", "stream_aborted", "no_response", "bad_usage", "no_count", "background")


def estimated(habits: Habits) -> Iterator[Finding]:
    """Dollars that rest on our estimates of tokens."""
    whole = sum(habit.sum.pico for habit in habits.values())
    pico = sum(habit.sum.estimated_pico for habit in habits.values())
    if not whole or pico < ESTIMATED * whole:
        return
    most = max(habits, key=lambda who: habits[who].sum.estimated_pico)
    yield Finding(
        "estimated",
        {},
        pico,
        f"{100 * pico / whole:.0f}% of the dollars are from our estimates of tokens",
        {
            "records": sum(habit.sum.estimated for habit in habits.values()),
            "most_by": about(most),
        },
        habits[most].lost,
        "These dollars were paid, or some others: an estimate may be wrong by a third.",
        "Read streams to their end, or set on_abort to drain: then the provider tells.",
    )


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


OF_ONE: Sequence[Callable[[Who, Habit], Finding | None]] = (
    uncached_prefix,
    cache_costs_more,
    cheaper_model,
    outliers,
    paid_for_nothing,
    reasoning,
    batch,
)


def findings(habits: Habits) -> list[Finding]:
    """Everything that the rules find."""
    found = [
        finding
        for who, habit in habits.items()
        for rule in OF_ONE
        if (finding := rule(who, habit)) is not None
    ]
    found += cache_below_others(habits, found)
    found += unpriced(habits)
    found += estimated(habits)
    return found
