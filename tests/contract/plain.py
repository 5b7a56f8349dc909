"""Everything that a caller can see of what an SDK gave back, as plain data that can be compared."""

import enum
import functools
import types
import warnings
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from pydantic import BaseModel

from .needs import optional

_HTTP: tuple[Any, ...] = tuple(filter(None, map(optional, ("httpx", "httpx2"))))
"""The HTTP libraries: which one an SDK uses depends on its version, and on the user."""

_ATOMS = (type(None), bool, int, float, str, bytes)
_HEADERS = ("date",)
"""Response headers that differ from run to run."""


def plain(value: Any) -> Any:
    """`value` with its types, in depth. What it does not know is an error: nothing is left out."""
    if type(value) in _ATOMS:
        return value
    for kind, look in _LOOKS:
        if isinstance(value, kind):
            return {"type": _name(value), **look(value)}
    for name, look in _BY_NAME.items():
        if any(base.__name__ == name for base in type(value).__mro__):
            return {"type": _name(value), **look(value)}
    raise TypeError(f"the contract does not know how to look at a {_name(value)}: {value!r}")


def _name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _model(value: BaseModel) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, about the SDKs' own generic models
        return _look_at_model(value)


def _look_at_model(value: BaseModel) -> dict[str, Any]:
    private = value.__pydantic_private__ or {}
    seen: dict[str, Any] = {
        "fields": {name: plain(field) for name, field in vars(value).items()},
        "extra": plain(value.__pydantic_extra__),
        "private": {name: plain(field) for name, field in private.items()},
        "set": sorted(value.model_fields_set),
        "dump": value.model_dump_json(warnings=False),
        "repr": repr(value),
    }
    for name in ("to_json", "to_dict", "to_json_dict"):
        if hasattr(value, name):
            seen[name] = repr(getattr(value, name)())
    for name in ("_request_id", "text", "output_text", "parsed", "function_calls"):
        if hasattr(type(value), name) and name not in vars(value):
            seen[name] = _read(value, name)
    return seen


def _read(value: Any, name: str) -> str:
    try:
        return repr(getattr(value, name))
    except ValueError as error:  # there is none, as some versions say it
        return repr(error)


def _headers(value: Mapping[str, str]) -> dict[str, Any]:
    items = value.multi_items() if hasattr(value, "multi_items") else value.items()
    return {"items": [(k, v) for k, v in items if k.lower() not in _HEADERS]}


def _response(value: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "status": (value.status_code, value.reason_phrase, value.http_version),
        "headers": _headers(value.headers),
        "url": str(value.url),
        "closed": (value.is_closed, value.is_stream_consumed),
        "downloaded": value.num_bytes_downloaded,
        "extensions": sorted(value.extensions),
    }
    try:
        seen["elapsed"] = type(value.elapsed).__name__
    except RuntimeError as error:
        seen["elapsed"] = str(error)
    if hasattr(value, "_content"):
        seen["content"] = value.content
    return seen


def _of_requests(value: Any) -> dict[str, Any]:
    return {
        "status": (value.status_code, value.reason),
        "headers": _headers(value.headers),
        "url": value.url,
        "content": value.content,
    }


def _api_response(value: Any) -> dict[str, Any]:
    names = ("status_code", "request_id", "retries_taken", "http_version", "is_closed", "method")
    return {
        "url": str(value.url),
        "headers": _headers(value.headers),
        **{name: getattr(value, name) for name in names if hasattr(value, name)},
    }


def _error(value: BaseException) -> dict[str, Any]:
    names = ("status_code", "code", "body", "message", "request_id", "param", "details", "status")
    seen: dict[str, Any] = {"text": str(value), "args": plain(value.args)}
    seen |= {name: plain(getattr(value, name)) for name in names if hasattr(value, name)}
    if getattr(value, "response", None) is not None:
        seen["response"] = plain(value.response)
    if getattr(value, "completion", None) is not None:
        seen["completion"] = plain(value.completion)
    seen["cause"] = plain(value.__cause__)
    seen["context"] = None if value.__context__ is None else _name(value.__context__)
    seen["notes"] = getattr(value, "__notes__", None)
    return seen


def _aiohttp(value: Any) -> dict[str, Any]:
    return {
        "status": (value.status, value.reason),
        "headers": _headers(value.headers),
        "url": str(value.url),
        "closed": value.closed,
    }


def _stream(value: Any) -> dict[str, Any]:
    return {"response": plain(value.response)}


def _sequence(value: Any) -> dict[str, Any]:
    return {"items": [plain(item) for item in value]}


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {"items": {key: plain(item) for key, item in value.items()}}


_LOOKS: tuple[tuple[Any, Any], ...] = (
    (enum.Enum, lambda value: {"value": value.value}),
    (BaseModel, _model),
    (BaseException, _error),
    (tuple(http.Response for http in _HTTP), _response),
    (tuple(http.Headers for http in _HTTP), _headers),
    ((*(http.URL for http in _HTTP), date, timedelta), lambda value: {"text": str(value)}),
    (Mapping, _mapping),
    ((list, tuple, set, frozenset), _sequence),
    ((str, bytes, int, float), lambda value: {"value": repr(value)}),
    (
        (types.FunctionType, types.MethodType, functools.partial, type),
        lambda value: {"name": getattr(value, "__qualname__", "partial")},
    ),
)

_BY_NAME: Mapping[str, Any] = {
    "BaseAPIResponse": _api_response,
    "LegacyAPIResponse": _api_response,
    "ClientResponse": _aiohttp,
    "Close": lambda value: {"code": value.code, "reason": value.reason},
    "Response": _of_requests,
    "Stream": _stream,
    "AsyncStream": _stream,
    "HttpResponse": lambda value: {"headers": _headers(value.headers)},
}
