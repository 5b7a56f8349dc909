"""The patched methods are pickled and copied like those of the SDK, and without a word of us."""

import copy
import pickle
import sys
from typing import Any

import openai
import openai._base_client
import pytest
from google.genai import _api_client, models

from .kit import instrumented, places


class Client(openai.OpenAI):
    """A client that can be pickled: applications that distribute their work have such."""

    def __reduce__(self) -> Any:
        return Client._again, (self.api_key, str(self.base_url))

    def __deepcopy__(self, memo: Any) -> "Client":
        return Client._again(self.api_key, str(self.base_url))

    @staticmethod
    def _again(key: str, url: str) -> "Client":
        return Client(api_key=key, base_url=url)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_method_of_a_class_is_pickled_by_its_name(protocol):
    with instrumented():
        for kind, name in places().values():
            function = getattr(kind, name)
            for one in (function, vars(kind)[name]):
                data = pickle.dumps(one, protocol)
                assert b"otel_llm_usage" not in data
                assert b"wrapt" not in data
                assert pickle.loads(data) == function
    # whoever unpickles it need not have us
    assert pickle.loads(data) is getattr(kind, name)


def test_a_method_of_a_class_is_its_own_copy():
    with instrumented():
        for kind, name in places().values():
            for one in (getattr(kind, name), vars(kind)[name]):
                assert copy.copy(one) is one
                assert copy.deepcopy([one])[0] is one


def test_a_bound_method_is_pickled_and_copied_with_its_object(monkeypatch):
    monkeypatch.setitem(sys.modules, Client.__module__, sys.modules[__name__])

    def seen():
        client = Client(api_key="key", base_url="http://127.0.0.1:1")
        method = client.request
        found = [pickle.loads(pickle.dumps(method)), copy.deepcopy(method), copy.copy(method)]
        said = [
            (type(one.__self__), one.__self__.api_key, one.__self__ is client, one.__name__)
            for one in found
        ]
        for one in found:
            one.__self__.close()
        return said

    without = seen()
    with instrumented():
        assert seen() == without


def test_what_cannot_be_pickled_without_us_fails_the_same_way():
    def refused(what):
        try:
            pickle.dumps(what)
        except Exception as error:
            return type(error), str(error)
        return None

    def seen():
        google = _api_client.BaseApiClient(api_key="key")
        with openai.OpenAI(api_key="key") as client:
            seen = [
                refused(client.chat.completions.create),
                refused(client.request),
                refused(models.Models(google).generate_content_stream),
            ]
        google.close()
        return seen

    without = seen()
    assert None not in without
    with instrumented():
        assert seen() == without
