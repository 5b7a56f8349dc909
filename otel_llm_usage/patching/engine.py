"""The wrapping engine: puts wrappers on seams when their module is there, and takes them off again.

This is the only door to wrapt. A seam names its place as strings, so no SDK is ever imported here.
"""

import copy
import importlib
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import wrapt

from .. import guard

logger = logging.getLogger("otel_llm_usage")

SeamState = Literal["waiting", "patched", "missing", "failed", "removed"]
"""`waiting`: the module is not imported yet (or not installed, or this version has no such feature);
`missing`: this version has no such place, and what passes there is not counted."""

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Seam:
    """One place of an SDK: `module` and the dotted `path` in it, and what to put around it."""

    sdk: str
    module: str
    path: str
    wrapper: Wrapper
    optional: bool = False
    """Other versions may lack the whole feature: without its class nothing passes uncounted."""
    older: tuple[str, ...] = ()
    """The same place in older versions: the first path that is there is wrapped."""

    @property
    def name(self) -> str:
        return f"{self.module}.{self.path}"


class Engine:
    """Wraps and unwraps a list of seams."""

    def __init__(self, seams: Iterable[Seam], on_change: Callable[[Seam, SeamState], None]) -> None:
        self.states: dict[Seam, SeamState] = dict.fromkeys(seams, "waiting")
        self._on_change = on_change
        self._originals: dict[Seam, Any] = {}
        """What stands there, under all wrappers."""
        self._lock = threading.RLock()
        self._switch: list[bool] = []
        """Not empty while the wrappers do anything. wrapt looks at it without running any of our code."""

    def install(self) -> None:
        """Wrap what is imported now, and the rest when it will be imported."""
        self._switch[:] = [True]
        for seam in self.states:
            self._change(seam, "waiting")
        modules = dict.fromkeys(seam.module for seam in self.states)
        packages = dict.fromkeys(module.rpartition(".")[0] for module in modules)
        for module in (*modules, *packages):
            _when_imported(module, self)

    @property
    def active(self) -> bool:
        """Whether the wrappers do anything."""
        return bool(self._switch)

    def remove(self) -> None:
        """Take every wrapper off again, and wait for no import any more."""
        self._switch.clear()
        for waiting in _engines.values():
            if self in waiting:
                waiting.remove(self)
        with self._lock:
            for seam, state in self.states.items():
                if state == "patched":
                    guard.call("unpatch", _unwrap, self, seam)
                    self._change(seam, "removed")

    def mend(self) -> None:
        """Stand again where others have taken us off.

        Who came before us and leaves puts back what was there when he came; who wraps a method in a
        derived class hides ours in the class that it comes from. Neither tells us.
        """
        if not self.active:
            return
        with self._lock:
            for seam, state in self.states.items():
                if state == "patched" and guard.call("patch", self._surround, seam):
                    logger.warning(
                        "otel-llm-usage was taken off %s by another package, and is there again. "
                        "Calls that passed there meanwhile were not counted.",
                        seam.name,
                    )

    def module_imported(self, module: Any) -> None:
        """A module with seams is there: wrap them. Never raises into the user's import."""
        if not self.active:
            return
        with self._lock:
            for seam, state in self.states.items():
                if state not in ("waiting", "removed"):
                    continue
                if seam.module == module.__name__:
                    with guard.guarded("patch"):
                        self._wrap(seam, module)
                elif seam.module.rpartition(".")[0] == module.__name__:
                    with guard.guarded("patch"):
                        self._look_for(seam)

    def _look_for(self, seam: Seam) -> None:
        """The package is there: is the module, too?"""
        found = seam.module in sys.modules or importlib.util.find_spec(seam.module) is not None
        if not (found or seam.optional):
            self._miss(seam)

    def _miss(self, seam: Seam) -> None:
        self._change(seam, "missing")
        logger.warning(
            "otel-llm-usage does not find %s in this version of %s: calls that pass there are "
            "not counted. Please report the version.",
            seam.name,
            seam.sdk,
        )

    def _wrap(self, seam: Seam, module: Any) -> None:
        path = _place(seam, module)
        if path is None:
            if not seam.optional or hasattr(module, seam.path.partition(".")[0]):
                self._miss(seam)
            return
        owner, name = _owner(module, path)
        self._originals[seam] = _innermost(getattr(owner, name))
        self._surround(seam)
        self._change(seam, "patched")

    def _surround(self, seam: Seam) -> bool:
        """Stand wherever the original is reached without us; whether there was such a place."""
        module = sys.modules[seam.module]
        path = _place(seam, module)
        if path is None:
            return False
        name = path.rpartition(".")[2]
        open_ = [
            owner
            for owner in _owners(module, path)
            if not _stands(self, owner, name)
            and _innermost(getattr(owner, name)) is self._originals[seam]
        ]
        for owner in open_:
            # switched off, it passes through: somebody may have wrapped what we wrapped
            wrapt.wrap_object(owner, name, _Method, (seam.wrapper,), {"enabled": self._switch})
        return bool(open_)

    def _change(self, seam: Seam, state: SeamState) -> None:
        self.states[seam] = state
        guard.call("seams", self._on_change, seam, state)


class _BoundMethod(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]
    """What a look-up gives: pickled and copied as the SDK's own function or method would be.

    A pickle names nothing of ours: whoever reads it need not have us.
    """

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        method = self.__wrapped__
        bound_to = getattr(method, "__self__", None)
        return getattr, (_home(method) if bound_to is None else bound_to, method.__name__)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        bound_to = getattr(self.__wrapped__, "__self__", None)
        if bound_to is None:
            return self
        return getattr(copy.deepcopy(bound_to, memo), self.__wrapped__.__name__)


class _Method(wrapt.FunctionWrapper):  # type: ignore[type-arg]
    """A wrapped method, where it stands in its class."""

    __bound_function_wrapper__ = _BoundMethod

    def __reduce_ex__(self, protocol: Any) -> Any:
        name = self.__wrapped__.__qualname__
        # by its name, where it stands in a module, and as a member of its class elsewhere
        return (
            (getattr, (_home(self.__wrapped__), self.__wrapped__.__name__)) if "." in name else name
        )

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


def _home(function: Any) -> Any:
    """The class that a function stands in."""
    return _owner(sys.modules[function.__module__], function.__qualname__)[0]


def _place(seam: Seam, module: Any) -> str | None:
    """Where this version has it."""
    for path in (seam.path, *seam.older):
        target = module
        for part in path.split("."):
            target = getattr(target, part, None)
            if target is None:
                break  # and not the `__init__` that `None` has
        else:
            return path
    return None


def _owner(module: Any, path: str) -> tuple[Any, str]:
    *parents, name = path.split(".")
    owner = module
    for part in parents:
        owner = getattr(owner, part)
    return owner, name


def _owners(module: Any, path: str) -> list[Any]:
    """The class, and those derived from it in which somebody has put a function of that name."""
    owner, name = _owner(module, path)
    owners, unseen = [owner], [owner]
    while unseen and isinstance(owner, type):
        for derived in unseen.pop().__subclasses__():
            unseen.append(derived)
            if name in vars(derived) and derived not in owners:
                owners.append(derived)
    return owners


def _layers(found: Any) -> Iterator[Any]:
    """A function and what it is wrapped around, from the outside in."""
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = getattr(found, "__wrapped__", None)


def _innermost(found: Any) -> Any:
    *_, last = _layers(found)
    return last


def _is_ours(engine: Engine, layer: Any) -> bool:
    # a proxy that another package has put around ours shows our attributes as its own; one that
    # looked a method up in its class, and put it back there when it went, has left it bound
    return type(layer) in (_Method, _BoundMethod) and layer._self_enabled is engine._switch


def _stands(engine: Engine, owner: Any, name: str) -> bool:
    """Whether a wrapper of this engine is there, outermost or further in. One left behind is idle."""
    return any(_is_ours(engine, layer) for layer in _layers(vars(owner).get(name)))


def _unwrap(engine: Engine, seam: Seam) -> None:
    module = sys.modules.get(seam.module)
    if module is None:
        return
    path = _place(seam, module) or seam.path
    name = path.rpartition(".")[2]
    for owner in _owners(module, path):
        found = vars(owner).get(name)
        if _is_ours(engine, found):
            before = found.__wrapped__
            if any(vars(base).get(name) is before for base in getattr(owner, "__mro__", ())[1:]):
                delattr(owner, name)  # it was inherited, and is again
            else:
                setattr(owner, name, before)
        elif _stands(engine, owner, name) or (
            owner is _owner(module, path)[0]
            and _innermost(found)
            is not engine._originals.get(seam)  # it does not show what it wraps
        ):
            logger.warning(
                "otel-llm-usage leaves its (now idle) wrapper at %s: another package wrapped it since",
                seam.name,
            )


_engines: dict[str, list[Engine]] = {}
"""Who waits for which module. wrapt can't forget a hook, so each module gets one, once."""


def _when_imported(module: str, engine: Engine) -> None:
    found = sys.modules.get(module)
    if getattr(getattr(found, "__spec__", None), "_initializing", False):
        # another thread is in the middle of importing it: half of its classes are not there yet
        importlib.import_module(module)
    known = module in _engines
    waiting = _engines.setdefault(module, [])
    if engine not in waiting:
        waiting.append(engine)
    if not known:
        wrapt.register_post_import_hook(lambda found: _arrived(module, found), module)
    elif module in sys.modules:
        engine.module_imported(sys.modules[module])


def _arrived(name: str, module: Any) -> None:
    for engine in tuple(_engines.get(name, ())):
        guard.call("patch", engine.module_imported, module)
