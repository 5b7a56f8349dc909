"""Wrapping and unwrapping by table."""

import logging
import sys
import types

import pytest
import wrapt

from otel_llm_usage.patching.engine import Engine, Seam


@pytest.fixture
def module(request):
    """A module of its own, with one class to wrap."""
    name = f"seams_of_{abs(hash(request.node.nodeid))}"
    made = types.ModuleType(name)

    class Client:
        def send(self, text):
            return f"sent {text}"

    made.Client = Client
    yield made
    sys.modules.pop(name, None)


def loud(wrapped, instance, args, kwargs):
    return wrapped(*args, **kwargs).upper()


@pytest.fixture
def engine_for():
    engines = []

    def make(module, *paths, **options):
        seams = [Seam("sdk", module.__name__, path, loud, **options) for path in paths]
        states = []
        engine = Engine(seams, lambda seam, state: states.append((seam.path, state)))
        engine.seen = states
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.remove()


def test_a_module_that_is_there_is_wrapped_now(module, engine_for):
    sys.modules[module.__name__] = module
    engine = engine_for(module, "Client.send")
    engine.install()
    assert module.Client().send("x") == "SENT X"
    assert list(engine.states.values()) == ["patched"]


def test_a_module_that_never_comes_is_waited_for(module, engine_for):
    engine = engine_for(module, "Client.send")
    engine.install()
    assert list(engine.states.values()) == ["waiting"]


def test_removal_puts_back_the_very_same_function(module, engine_for):
    sys.modules[module.__name__] = module
    before = vars(module.Client)["send"]
    engine = engine_for(module, "Client.send")
    engine.install()
    engine.remove()
    assert vars(module.Client)["send"] is before
    assert list(engine.states.values()) == ["removed"]


def test_installing_twice_wraps_once(module, engine_for):
    sys.modules[module.__name__] = module
    engine = engine_for(module, "Client.send")
    engine.install()
    engine.install()
    assert not hasattr(vars(module.Client)["send"].__wrapped__, "__wrapped__")
    engine.remove()
    engine.install()
    assert module.Client().send("x") == "SENT X"


def test_a_seam_that_is_missing_is_said_once_and_the_others_work(module, engine_for, caplog):
    sys.modules[module.__name__] = module
    engine = engine_for(module, "Client.send", "Client.gone", "Other.place")
    with caplog.at_level(logging.WARNING):
        engine.install()
    assert module.Client().send("x") == "SENT X"
    assert [state for _, state in engine.seen[-3:]] == ["patched", "missing", "missing"]
    assert len([r for r in caplog.records if "does not find" in r.message]) == 2


def test_a_wrapper_that_somebody_wrapped_stays_and_goes_idle(module, engine_for, caplog):
    sys.modules[module.__name__] = module
    engine = engine_for(module, "Client.send")
    engine.install()

    def theirs(wrapped, instance, args, kwargs):
        return wrapped(*args, **kwargs) + "!"

    wrapt.wrap_function_wrapper(module, "Client.send", theirs)
    assert module.Client().send("x") == "SENT X!"
    engine.remove()
    assert module.Client().send("x") == "sent x!"
    assert "idle" in caplog.text


def test_a_place_that_older_versions_call_otherwise_is_wrapped_there(module, engine_for, caplog):
    sys.modules[module.__name__] = module
    engine = engine_for(module, "Customer.send", older=("Caller.send", "Client.send"))
    engine.install()
    assert module.Client().send("x") == "SENT X"
    assert engine.seen[-1] == ("Customer.send", "patched")
    engine.remove()
    assert module.Client().send("x") == "sent x"
    assert not hasattr(module.Client.send, "__wrapped__")
    assert caplog.records == []


def test_a_place_with_an_older_name_is_wrapped_under_its_newest(module, engine_for):
    sys.modules[module.__name__] = module
    module.Older = type("Older", (), {"send": module.Client.send})
    engine_for(module, "Client.send", older=("Older.send",)).install()
    assert module.Client().send("x") == "SENT X"
    assert module.Older().send("x") == "sent x"


def test_a_place_under_none_of_its_names_is_told_once(module, engine_for, caplog):
    sys.modules[module.__name__] = module
    engine = engine_for(module, "Customer.__init__", older=("Caller.send",))
    engine.install()
    assert list(engine.states.values()) == ["missing"]
    assert len(caplog.records) == 1
