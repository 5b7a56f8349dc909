"""What-ifs and comparisons: the stand-in's own price list says what the same tokens cost elsewhere."""

import threading
from decimal import Decimal

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_usage import agent, attribute, instrument, record_usage, track, tracking
from otel_llm_usage.comparison import Timing
from otel_llm_usage.standin import Answer
from otel_llm_usage.standin.tariff import charge
from otel_llm_usage.tracking import UsageScope

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def gpt(llm_standin):
    instrument(otlp=False)
    with openai.OpenAI(max_retries=0) as client:
        yield lambda model="gpt-4.1", **more: client.chat.completions.create(
            model=model, messages=HELLO, **more
        )


@pytest.fixture
def claude(llm_standin):
    instrument(otlp=False)
    with anthropic.Anthropic(max_retries=0) as client:
        yield lambda model="claude-haiku-4-5": client.messages.create(
            model=model, max_tokens=100, messages=HELLO
        )


def elsewhere(bills, model, **more):
    """What the stand-in's price list asks for the tokens of these bills."""
    return sum((charge(model, bill.usage, **more) for bill in bills), Decimal(0))


def test_the_traffic_on_another_model_costs_what_the_price_list_says(llm_standin, gpt):
    with track() as usage:
        for _ in range(4):
            gpt()
    told = usage.what_if("gpt-4.1-mini")
    bills = list(llm_standin.ledger)
    assert told.actual_usd == usage.total.cost_usd == llm_standin.ledger.usd()
    assert told.other_usd == told.known_other_usd == elsewhere(bills, "gpt-4.1-mini")
    assert told.difference_usd == told.other_usd - told.actual_usd < 0
    assert told.ratio == pytest.approx(0.2)
    assert (told.calls, told.left_out, told.unpriced, told.assumed) == (4, 0, 0, ())
    assert (told.model, told.provider, told.tier) == ("gpt-4.1-mini", "openai", None)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-sonnet-4-5", "gemini-2.5-flash"])
def test_a_model_of_another_vendor_is_found_by_its_name(llm_standin, gpt, model):
    llm_standin.script(Answer(usage={"input": 900, "cache_read": 100, "output": 50}))
    with track() as usage:
        gpt()
    told = usage.what_if(model)
    assert told.other_usd == elsewhere(llm_standin.ledger, model)
    assert told.provider == ("gcp.gemini" if model.startswith("gemini") else "anthropic")


def test_the_same_model_costs_the_same(gpt, claude):
    with track() as usage:
        gpt()
        gpt("gpt-5")
        claude()
    assert usage.what_if(tier="standard").difference_usd == 0
    assert usage.what_if("gpt-5", of_model="gpt-5").difference_usd == 0
    assert usage.what_if(provider="anthropic", of_model="claude-haiku-4-5").difference_usd == 0


@pytest.mark.parametrize(("model", "tier"), [("gpt-4.1", "priority"), ("gpt-5", "flex")])
def test_another_tier_is_priced_as_such_and_back(llm_standin, gpt, model, tier):
    with track() as plain:
        gpt(model)
    bill = llm_standin.ledger.last
    there = plain.what_if(tier=tier)
    assert there.other_usd == charge(model, bill.usage, tier=tier)
    with track() as tiered:
        gpt(model, service_tier=tier)
    bill = llm_standin.ledger.last
    assert bill.tier == tier
    back = tiered.what_if(tier="standard")
    assert (back.actual_usd, back.other_usd) == (bill.usd, charge(model, bill.usage))


def test_a_batch_is_half_the_price_and_leaves_it_again(llm_standin, gpt):
    with track() as usage:
        gpt()
        usage_of_it = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
        record_usage(usage_of_it, provider="openai", model="gpt-4.1", endpoint="batches")
    plain, batch = usage.what_if(tier="standard"), usage.what_if(tier="batch")
    bill = llm_standin.ledger.last
    whole = bill.usd + charge("gpt-4.1", {"input": 1000, "output": 10})
    assert (plain.other_usd, batch.other_usd) == (whole, whole / 2)
    assert plain.actual_usd == bill.usd + (whole - bill.usd) / 2
    named = usage.records[1]  # some batches are known by their endpoint alone
    named = named._replace(request=named.request._replace(endpoint="batches", tier=None))
    also = UsageScope()
    also.add(named._replace(tier=None))
    assert also.what_if(tier="standard").other_usd == whole - bill.usd
    assert also.what_if("gpt-4.1").difference_usd == 0
    # the tier of each call stays where nobody says another one
    assert usage.what_if("gpt-4.1").difference_usd == 0


def test_the_tier_of_one_vendor_is_not_that_of_another(llm_standin, gpt):
    with track() as usage:
        gpt("gpt-4.1", service_tier="priority")
    told = usage.what_if("claude-haiku-4-5")
    # Anthropic's own "priority" is paid in advance
    assert told.other_usd == elsewhere(llm_standin.ledger, "claude-haiku-4-5")
    assert any("priority priced as standard" in word for word in told.assumed)
    paid = usage.what_if("claude-haiku-4-5", tier="priority")
    assert paid.other_usd == 0
    assert "the tokens are paid in advance" in paid.assumed


def test_kinds_that_the_other_model_does_not_tell_apart_are_plain_tokens(llm_standin, claude):
    told = {
        "input": 1000,
        "cache_read": 300,
        "cache_write_5m": 200,
        "cache_write_1h": 40,
        "output": 9,
    }
    llm_standin.script(Answer(usage=told))
    with track() as usage:
        claude()
    other = usage.what_if("gpt-4.1")
    same = {"input": 1240, "cache_read": 300, "output": 9}
    assert other.other_usd == charge("gpt-4.1", same)
    assert {word for word in other.assumed if "no rate" in word} == {
        "cache_write_5m priced as input: it has no rate there",
        "cache_write_1h priced as input: it has no rate there",
    }


def test_long_prompts_are_dearer_there_too(llm_standin, gpt):
    llm_standin.script(Answer(usage={"input": 250_000, "output": 10}))
    with track() as usage:
        gpt()
    told = usage.what_if("gemini-2.5-pro")
    assert told.other_usd == elsewhere(llm_standin.ledger, "gemini-2.5-pro")


def test_sound_is_never_guessed(gpt):
    sound = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    sound["prompt_tokens_details"] = {"audio_tokens": 400}
    with track() as usage:
        record_usage(sound, provider="openai", model="gpt-audio")
    told = usage.what_if("gpt-4.1")
    assert (told.other_usd, told.difference_usd, told.ratio, told.unpriced) == (None, None, None, 1)
    assert told.known_other_usd == charge("gpt-4.1", {"input": 600, "output": 10})


def test_a_model_that_nobody_knows_has_no_cost_and_is_said_once(gpt, caplog):
    with track() as usage:
        gpt()
        gpt()
    told = usage.what_if("nobody-knows-1")
    assert (told.other_usd, told.known_other_usd, told.unpriced) == (None, 0, 2)
    assert told.actual_usd == usage.total.cost_usd
    usage.what_if("nobody-knows-1")
    assert caplog.text.count("No price for nobody-knows-1") == 1


def test_what_has_no_price_is_unknown_on_that_side_alone(gpt):
    with track() as usage:
        gpt("nobody-knows-1")
    told = usage.what_if("gpt-4.1")
    assert told.actual_usd is None
    assert told.other_usd > 0
    assert told.to_dict()["difference_usd"] is None


def test_failed_calls_cost_nothing_in_either(llm_standin, gpt):
    with track() as usage:
        gpt()
        llm_standin.script(Answer(status=400))
        with pytest.raises(openai.BadRequestError):
            gpt()
    told = usage.what_if("gpt-4.1-mini")
    assert (told.calls, told.left_out) == (1, 0)
    assert told.other_usd == elsewhere(llm_standin.ledger, "gpt-4.1-mini")


def test_calls_of_an_agent_and_of_a_model_are_picked(llm_standin, gpt):
    with track() as usage:
        with agent("planner"):
            gpt()
            gpt("gpt-5")
        with agent("writer"):
            gpt()
        with agent("critic"):
            gpt("gpt-5")
    bills = list(llm_standin.ledger)
    assert usage.what_if("o3", agent="planner").other_usd == elsewhere(bills[:2], "o3")
    assert usage.what_if("o3", of_model="gpt-4.1").other_usd == elsewhere(bills[::2], "o3")
    told = usage.what_if("o3", agent="planner", of_model="gpt-4.1-2025-04-14")
    assert (told.calls, told.other_usd) == (1, elsewhere(bills[:1], "o3"))
    both = usage.what_if("o3", agent=("planner", "writer"))
    assert (both.calls, both.other_usd) == (3, elsewhere(bills[:3], "o3"))
    nothing = usage.what_if("o3", agent="nobody")
    assert (nothing.calls, nothing.actual_usd, nothing.other_usd, nothing.ratio) == (0, 0, 0, None)


def test_whoever_buys_of_a_vendor_elsewhere_buys_the_other_model_there(gpt):
    usage_of_it = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    with track() as usage:
        record_usage(usage_of_it, provider="azure", model="gpt-4.1")
    told = usage.what_if("gpt-4.1-mini")
    assert told.provider == "azure.ai.openai"
    assert told.other_usd == charge("gpt-4.1-mini", {"input": 1000, "output": 10})
    assert usage.what_if("gpt-4.1-mini", provider="openai").provider == "openai"


def test_whoever_sold_the_other_model_in_these_calls_would_have_sold_it(gpt):
    answer = {"input_tokens": 10, "output_tokens": 5}
    with track() as usage:
        gpt()
        record_usage(answer, provider="bedrock", model="anthropic.claude-haiku-4-5-20251001-v1:0")
    told = usage.what_if("claude-haiku-4-5", of_model="gpt-4.1")
    assert told.provider == "aws.bedrock"
    assert usage.what_if("claude-sonnet-4-5", of_model="gpt-4.1").provider == "anthropic"


def test_where_it_is_served_counts_there_too(llm_standin, gpt):
    answer = {"input_tokens": 1000, "output_tokens": 500}
    regional = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    with track() as usage:
        gpt()
        record_usage(answer, provider="bedrock", model=regional)
    told = usage.what_if("claude-haiku-4-5", of_model="gpt-4.1")
    assert told.other_usd == elsewhere(llm_standin.ledger, "claude-haiku-4-5", regional=True)
    tokens = {"input": 1000, "output": 500}
    dearer = usage.what_if("claude-sonnet-4-5", of_model="claude-haiku-4-5")
    assert dearer.provider == "aws.bedrock"
    assert dearer.other_usd == charge("claude-sonnet-4-5", tokens, regional=True)
    own = usage.what_if("claude-sonnet-4-5", provider="anthropic", of_model="claude-haiku-4-5")
    assert own.other_usd == charge("claude-sonnet-4-5", tokens)


def test_several_entries_of_an_answer_are_one_call(gpt):
    with track() as usage:
        gpt()
    (record,) = usage.records
    usage.add(record._replace(id=record.id + "-1"))
    told = usage.what_if("gpt-4.1")
    assert (told.calls, told.left_out, told.other_usd) == (1, 0, 2 * record.cost_usd)
    assert usage.timing().calls == 1


def test_what_is_left_out_is_said(llm_standin, gpt):
    small = UsageScope("small", most_calls=2)
    with small:
        for _ in range(5):
            gpt()
        llm_standin.script(Answer(wire_usage=None))
        gpt()
        llm_standin.script(Answer(status=400))
        with pytest.raises(openai.BadRequestError):
            gpt()
    # kept are the call without usage and the failed one: five and one were billed
    told = small.what_if("gpt-4.1-mini")
    assert (told.calls, told.left_out, told.actual_usd) == (0, 6, 0)
    assert small.what_if("gpt-4.1-mini", of_model="gpt-4.1").left_out == 6
    assert small.what_if("gpt-4.1-mini", of_model="gpt-5").left_out == 0


def test_the_sums_of_the_process_say_that_they_keep_no_calls(llm_standin, gpt):
    tracking.reset_usage()
    gpt()
    gpt("gpt-4.1-mini")
    first, second = llm_standin.ledger
    told = tracking.process.compare_models("gpt-4.1", "gpt-4.1-mini-2025-04-14")
    assert (told.a.total_usd, told.b.total_usd) == (first.usd, second.usd)
    assert (told.a_on_b.calls, told.a_on_b.left_out, told.b_on_a.left_out) == (0, 1, 1)


def test_two_models_are_compared_as_they_were_used(llm_standin, gpt, claude):
    with track() as usage:
        gpt()
        gpt()
        claude()
    first, second, third = llm_standin.ledger
    told = usage.compare_models("gpt-4.1", "claude-haiku-4-5")
    assert (told.a.calls, told.b.calls) == (2, 1)
    assert told.a.total_usd == first.usd + second.usd
    assert told.a.usd_per_call == (first.usd + second.usd) / 2
    both = sum(first.usage.values()) + sum(second.usage.values())
    assert told.a.total_tokens == both / 2 == told.a.input_tokens + told.a.output_tokens
    assert told.b.output_tokens == sum(
        count for kind, count in third.usage.items() if kind in ("output", "reasoning")
    )
    assert told.b.average_seconds > 0
    assert told.ratio == pytest.approx(float((first.usd + second.usd) / 2 / third.usd))
    assert told.tokens_ratio == pytest.approx(both / 2 / sum(third.usage.values()))
    assert told.a_on_b.other_usd == elsewhere([first, second], "claude-haiku-4-5")
    assert told.a_on_b.actual_usd == told.a.total_usd
    assert told.b_on_a.provider == "openai"
    assert told.to_dict()["a"]["total_usd"] == f"{told.a.total_usd:f}"


def test_a_model_that_was_not_used_has_no_averages(gpt):
    with track() as usage:
        gpt()
    told = usage.compare_models("gpt-4.1", "o3")
    assert (told.b.calls, told.b.total_tokens, told.b.usd_per_call) == (0, None, None)
    assert (told.ratio, told.tokens_ratio) == (None, None)
    assert told.a_on_b.other_usd > 0
    empty = track().compare_models("gpt-4.1", "o3")
    assert (empty.a.calls, empty.a_on_b.other_usd, empty.ratio) == (0, 0, None)


def test_names_that_only_begin_alike_are_other_models(gpt):
    with track() as usage:
        gpt("gpt-4.1")
        gpt("gpt-4.1-mini")
        gpt("gpt-4.1-nano")
    assert usage.compare_models("gpt-4.1", "gpt-4.1-mini").a.calls == 1


def test_a_deployment_is_found_by_the_name_that_was_asked_for(llm_standin, gpt):
    usage = UsageScope(most_calls=2)
    with usage:
        for _ in range(3):
            llm_standin.script(Answer(model="gpt-4.1-2025-04-14"))
            gpt("our-deployment")
    told = usage.compare_models("our-deployment", "gpt-4.1")
    assert told.a.calls == told.b.calls == 3  # both are names of the same calls
    assert told.a_on_b.left_out == 1


def test_something_has_to_be_different():
    with pytest.raises(TypeError, match="a model, a tier or a provider"):
        track().what_if()


def test_what_ifs_while_others_call_see_a_moment(llm_standin, gpt):
    done = threading.Event()
    with track() as usage:

        def call():
            for _ in range(60):
                gpt()
            done.set()

        calling = threading.Thread(target=call)
        calling.start()
        while not done.is_set():
            told = usage.what_if("gpt-4.1-mini")
            assert (told.left_out, told.unpriced) == (0, 0)
        calling.join()
    assert usage.what_if("gpt-4.1-mini").other_usd == elsewhere(llm_standin.ledger, "gpt-4.1-mini")


# -- how long calls took


def test_timing_by_whatever_calls_differ_in(gpt, claude):
    with track() as usage:
        with agent("planner"), attribute(call_type="plan"):
            gpt()
        with agent("writer"):
            gpt()
            claude()
    whole, durations = usage.timing(), [record.duration for record in usage.records]
    assert (whole.calls, whole.longest, whole.shortest) == (3, max(durations), min(durations))
    assert whole.total == pytest.approx(sum(durations))
    assert whole.median == sorted(durations)[1]
    assert {name: found.calls for name, found in usage.timing("agent").items()} == {
        "planner": 1,
        "writer": 2,
    }
    assert usage.timing(by="call_type")["plan"].longest == durations[0]
    assert usage.timing(by="provider")["anthropic"].mean == durations[2]
    with pytest.raises(ValueError, match="agent, provider"):
        usage.timing(by="colour")


def test_timing_of_nothing():
    assert track().timing() == Timing(0, 0.0, None, None, None, None, None)
    assert track().timing("agent") == {}


@given(st.lists(st.floats(0, 1e5), min_size=1))
def test_the_95th_percentile_is_a_call_that_few_exceed(seconds):
    told = Timing.of(seconds)
    assert told.shortest <= told.median <= told.longest
    assert told.p95 in seconds
    assert sum(one > told.p95 for one in seconds) <= 0.05 * len(seconds)
    assert sum(one >= told.p95 for one in seconds) > 0.05 * len(seconds)


def test_failures_and_the_dearest_call(llm_standin, gpt):
    with track() as usage:
        gpt()
        record_usage(provider="openai", success=False, error_message="out of quota")
        llm_standin.script(Answer(status=400))
        with pytest.raises(openai.BadRequestError):
            gpt()
        gpt()
    assert [one.error_message or one.error_type for one in usage.failures] == [
        "out of quota",
        "400",
    ]
    assert usage.most_expensive_call.cost_usd == max(bill.usd for bill in llm_standin.ledger)
    assert track().most_expensive_call is None
    assert track().failures == ()
