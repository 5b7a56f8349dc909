"""Which versions, on which Python, with what beside them."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent

VERSIONS = {
    "openai": "1.40.8 1.55.3 1.66.5 1.99.9 1.109.1 2.0.0 2.20.0 2.35.1 2.54.0 3.0.0 3.20.0 3.40.0 3.54.0",
    "anthropic": "0.40.0 0.60.0 0.84.0 0.100.0 0.125.0 1.0.0 1.8.0 1.17.0 2.0.0 2.12.0",
    "google-genai": "1.0.0 1.20.0 1.40.0 1.55.0 1.60.0 1.75.0 2.0.0 2.6.0 2.10.0 2.17.0 2.26.0 2.34.0 3.0.0 3.4.0",
}
"""The oldest that is supported, some between, and the newest that the tests were run with."""

EXTRAS = {"openai": "aiohttp,realtime", "anthropic": "aiohttp,bedrock,vertex"}
"""What their other transports and clients need, where a version has such an extra."""

OLD_HTTP = "httpx<0.28"
"""Older clients hand httpx an argument that it no longer takes."""

BESIDE = {
    "openai": ("aiohttp", "httpx"),
    "anthropic": ("aiohttp", "boto3"),
    "google-genai": ("httpx",),
    ("openai", "1.40.8"): ("aiohttp", "websockets>=13", OLD_HTTP),
    ("openai", "1.55.3"): (
        "aiohttp",
        "httpx",
        "websockets>=13",
    ),  # the first two know no extra for it
    ("anthropic", "0.40.0"): ("boto3", OLD_HTTP),
    ("google-genai", "1.0.0"): (),
}

WITH_AIOHTTP = {
    ("google-genai", version) for version in ("1.20.0", "1.60.0", "2.0.0", "3.0.0", "3.4.0")
}
"""Run with and without: it takes aiohttp for what is async as soon as it is there."""

TOOLS = (
    "cryptography",
    "hypothesis",
    "pytest",
    "pytest-asyncio",
    "pytest-randomly",
    "pytest-xdist",
)
LOOSE = ("websockets", "protobuf", "googleapis-common-protos")
"""Where old and new packages can't agree on the version that the others are tested with."""


class Environment(NamedTuple):
    """One environment: one SDK, and what the contract is run with."""

    sdk: str
    version: str
    python: str = "3.11"
    beside: tuple[str, ...] = ()
    loop: str = "asyncio"
    floor: bool = False
    """Our own dependencies as old as `pyproject.toml` allows."""

    @property
    def name(self) -> str:
        more = (self.loop if self.loop != "asyncio" else "", "floor" if self.floor else "")
        beside = (name(one) for one in self.beside if name(one) == "aiohttp")
        return "-".join(filter(None, (self.sdk, self.version, f"py{self.python}", *beside, *more)))


def environments() -> Iterator[Environment]:
    """All of them."""
    for sdk, versions in VERSIONS.items():
        oldest, *_, newest = versions.split()
        old, new = _beside(sdk, oldest), _beside(sdk, newest)
        yield Environment(sdk, oldest, beside=old, floor=True)
        for version in versions.split():
            beside = _beside(sdk, version)
            yield Environment(sdk, version, beside=beside)
            if (sdk, version) in WITH_AIOHTTP:
                yield Environment(sdk, version, beside=(*beside, "aiohttp"))
        yield Environment(sdk, newest, beside=new, floor=True)
        yield Environment(sdk, newest, beside=(*new, "uvloop"), loop="uvloop")
        for python in ("3.12", "3.13"):
            yield Environment(sdk, newest, python, beside=new)


def _beside(sdk: str, version: str) -> tuple[str, ...]:
    return BESIDE.get((sdk, version), BESIDE[sdk])


def chosen(only: str = "", *, floor: bool = False) -> list[Environment]:
    """Those whose names begin with one of `only` (`openai,anthropic-2`); `floor`: the oldest."""
    names = tuple(filter(None, only.split(",")))
    oldest = {(sdk, versions.split()[0]) for sdk, versions in VERSIONS.items()}
    return [
        one
        for one in environments()
        if (not names or one.name.startswith(names))
        and (not floor or (one.floor and (one.sdk, one.version) in oldest))
    ]


def requirements(environment: Environment) -> list[str]:
    """What is installed into it."""
    pins = _pins()
    extras = EXTRAS.get(environment.sdk)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = project["dependencies"]
    if not environment.floor:
        ours = [f"{name(one)}=={pins[name(one)]}" for one in ours]
    return [
        f"{environment.sdk}{f'[{extras}]' if extras else ''}=={environment.version}",
        *environment.beside,
        *ours,
        *(f"{tool}=={pins[tool]}" for tool in TOOLS),
    ]


def constraints(required: Iterable[str]) -> list[str]:
    """The versions of `constraints.txt` for everything else, so that no new release is a surprise."""
    own = {name(one) for one in required if re.search(r"[<>=]", one)}
    return [
        f"{package}=={version}"
        for package, version in _pins().items()
        if package not in own and package not in LOOSE and not package.startswith("opentelemetry")
    ]


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (line.partition("==") for line in lines if "==" in line)
    return {name(package): version.strip() for package, _, version in pins}


def name(requirement: str) -> str:
    """The package that a requirement names, as indexes spell it."""
    package = re.match(r"[\w.-]+", requirement)
    assert package is not None, requirement
    return re.sub(r"[-_.]+", "-", package[0]).lower()
