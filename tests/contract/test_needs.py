"""The looks that decide whether a version has what a shape needs."""

from types import SimpleNamespace

import pytest

from .kit import Shape, lacks, sdks
from .needs import has, installed


@pytest.mark.parametrize(
    "need",
    [
        "json",
        "json.dumps",
        "json.dumps(indent)",
        "json.decoder.JSONDecoder.decode{raw_decode}",
        "xml.etree.ElementTree",
        "nowhere.at_all or json.dumps",
        "pydantic.main.create_model(__base__)",
    ],
)
def test_what_is_there_is_found(need: str) -> None:
    assert has(None, need)


@pytest.mark.parametrize(
    "need",
    [
        "nowhere",
        "nowhere.at_all",
        "json.nothing",
        "json.dumps.nothing",
        "json.dumps(nothing)",
        "json.decoder.JSONDecoder.decode{nothing}",
        "nowhere.at_all or json.nothing",
    ],
)
def test_what_is_not_there_is_not(need: str) -> None:
    assert not has(None, need)


def test_a_need_of_something_looks_at_that() -> None:
    client = SimpleNamespace(chat=SimpleNamespace(create=lambda *, stream: stream))
    assert has(client, "chat.create(stream)")
    assert not has(client, "chat.create(model)")
    assert not has(client, "json")


def test_a_module_within_a_package_that_is_missing_is_not_installed() -> None:
    assert not installed("nowhere.at_all")


async def _nothing(caller: object) -> None:
    """A shape that does nothing."""


def _shape(**more: tuple[str, ...]) -> Shape:
    return Shape(id="x", run=_nothing, provider="x", endpoint="x", asked=None, **more)


def test_a_shape_lacks_what_its_client_does_not_have() -> None:
    shape = _shape(needs=("openai:chat.completions.create", "openai:chat.nothing"))
    assert lacks(shape, "sync") == lacks(shape, "async") == ("openai:chat.nothing",)


def test_some_is_needed_only_async() -> None:
    shape = _shape(needs_async=("json.nothing",))
    assert lacks(shape, "sync") == ()
    assert lacks(shape, "async") == ("json.nothing",)


def test_a_client_that_a_version_does_not_have_is_lacking() -> None:
    assert lacks(_shape(needs=("nobody:chat",)), "sync") == ("nobody:chat",)


def test_a_shape_belongs_to_the_sdks_that_its_needs_name() -> None:
    needs = ("vertex:messages.create", "google.genai.types", "json")
    assert sdks(_shape(needs=needs, needs_async=("azure:chat",))) == {
        "anthropic",
        "google.genai",
        "openai",
    }
