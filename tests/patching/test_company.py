"""Others who wrap what we wrap: where it is inherited, and when they go."""

import functools
import sys
from types import ModuleType

import pytest

from otel_llm_usage.patching.engine import Engine, Seam


class Base:
    def request(self):
        return "answer"


class Client(Base):
    pass


@pytest.fixture
def calls():
    return []


@pytest.fixture
def engine(monkeypatch, calls):
    module = ModuleType("sdk_of_nobody")
    module.Base, module.Client = Base, Client
    monkeypatch.setitem(sys.modules, "sdk_of_nobody", module)

    def wrapper(wrapped, instance, args, kwargs):
        calls.append(wrapped.__name__)
        return wrapped(*args, **kwargs)

    engine = Engine([Seam("nobody", "sdk_of_nobody", "Base.request", wrapper)], lambda *_: None)
    original = Base.request
    yield engine
    engine.remove()
    Base.request = original
    if "request" in vars(Client):
        del Client.request


def theirs(function):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapped


def test_a_wrapper_in_a_derived_class_does_not_hide_us(engine, calls):
    Client.request = theirs(Client.request)
    engine.install()
    assert Client().request() == Base().request() == "answer"
    assert calls == ["request"] * 2
    engine.remove()
    Client().request()
    assert len(calls) == 2


def test_who_wraps_us_in_a_derived_class_passes_us_once(engine, calls):
    engine.install()
    Client.request = theirs(Client.request)
    engine.mend()
    Client().request()
    assert calls == ["request"]


def test_who_came_first_and_goes_takes_us_off_until_somebody_looks(engine, calls, caplog):
    before = Base.request
    Base.request = theirs(before)
    engine.install()
    Base().request()
    Base.request = before
    Base().request()
    assert calls == ["request"]
    engine.mend()
    engine.mend()
    Base().request()
    assert calls == ["request"] * 2
    assert len(caplog.records) == 1
    assert "was taken off" in caplog.text
    caplog.clear()
    engine.remove()
    assert Base.request is before
    assert not caplog.records
