"""Whose code makes a call: names of modules and functions, and the agents that they stand for."""

import sys
from collections.abc import Mapping
from types import CodeType

_DEEPEST = 200
"""Frames that are looked at: SDKs and frameworks take some dozens."""
_MOST = 4_096
"""Functions that are remembered."""


class Callers:
    """Finds the agent of the innermost function around a call that has one."""

    def __init__(self, agents: Mapping[str, str]) -> None:
        """`agents`: by dotted name, `{"shop.search": "searcher", "shop.plans.Planner.run": "planner"}`.

        A name stands for all that is in it: a package for its modules, a class for its methods. Of
        several the longest holds.
        """
        self._agents = dict(agents)
        # by identity, and kept so that it stays theirs: code of two modules that looks alike is equal
        self._known: dict[int, tuple[CodeType, str | None]] = {}

    def agent(self) -> str | None:
        """The agent of the code that runs, as far as its own stack goes; `None` if it has none."""
        frame = sys._getframe(1)
        known = self._known
        for _ in range(_DEEPEST):
            code = frame.f_code
            seen = known.get(id(code))
            found = seen[1] if seen else self._look(frame.f_globals.get("__name__"), code)
            if found is not None:
                return found
            if frame.f_back is None:
                return None
            frame = frame.f_back
        return None

    def _look(self, module: object, code: CodeType) -> str | None:
        if len(self._known) >= _MOST:
            self._known.clear()
        found = self._named(f"{module}.{code.co_qualname}")
        self._known[id(code)] = code, found
        return found

    def _named(self, name: str) -> str | None:
        name = name.replace(".<locals>", "")
        while name:
            found = self._agents.get(name)
            if found is not None:
                return found
            name = name.rpartition(".")[0]
        return None
