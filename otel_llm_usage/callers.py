"""Whose code makes a call: names of modules and functions, and the agents that they stand for."""

import sys
from collections.abc import Mapping
from types import CodeType

_DEEPEST = 200
"""Frames that are looked at: SDKs and frameworks take some dozens."""
_MOST = 4_096
"""Functions that are remembered."""
_UNSEEN = object()


class Callers:
    """Finds the agent of the innermost function around a call that has one."""

    def __init__(self, agents: Mapping[str, str]) -> None:
        """`agents`: by dotted name, `{"shop.search": "searcher", "shop.plans.Planner.run": "planner"}`.

        A name stands for all that is in it: a package for its modules, a class for its methods. Of
        several the longest holds.
        """
        self._agents = dict(agents)
        self._known: dict[CodeType, str | None] = {}

    def agent(self) -> str | None:
        """The agent of the code that runs, as far as its own stack goes; `None` if it has none."""
        frame = sys._getframe(1)
        known = self._known
        for _ in range(_DEEPEST):
            code = frame.f_code
            found = known.get(code, _UNSEEN)
            if found is _UNSEEN:
                found = self._look(frame.f_globals.get("__name__"), code)
            if found is not None:
                return str(found)
            if frame.f_back is None:
                return None
            frame = frame.f_back
        return None

    def _look(self, module: object, code: CodeType) -> str | None:
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[code] = found = self._named(f"{module}.{code.co_qualname}")
        return found

    def _named(self, name: str) -> str | None:
        name = name.replace(".<locals>", "")
        while name:
            found = self._agents.get(name)
            if found is not None:
                return found
            name = name.rpartition(".")[0]
        return None
