"""A call that fails makes no cycle of ours: it would keep the body of its request."""

import pytest

from .test_resources import FAILING, _garbage


@pytest.mark.parametrize("name", FAILING)
def test_a_call_that_fails_makes_no_cycle_of_ours(name, llm_standin):
    assert _garbage(FAILING[name], llm_standin)[1] == []
