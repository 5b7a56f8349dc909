"""Parquet: the one door to its library."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from ..errors import ConfigurationError, MissingExtra
from ..rowfiles import FileRow

_PORTION = 1000
DECIMALS = 18
"""Behind the point: with twenty digits before it, what most readers can hold."""


def _library() -> tuple[Any, Any]:
    try:
        # it takes a tenth of a second, and only who writes or reads Parquet needs it
        import pyarrow  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise MissingExtra("Parquet", "parquet") from None
    return pyarrow, pyarrow.parquet


@contextmanager
def writer(
    file: BinaryIO, columns: Sequence[Any]
) -> Iterator[Callable[[Sequence[Sequence[Any]]], None]]:
    """What writes the values of each column; JSON has to be text already."""
    arrow, files = _library()
    types = {
        "text": arrow.string(),
        "json": arrow.string(),
        "integer": arrow.int64(),
        "boolean": arrow.bool_(),
        "decimal": arrow.decimal128(38, DECIMALS),
        "time": arrow.timestamp("us", "UTC"),
    }
    schema = arrow.schema([(column.name, types[column.kind]) for column in columns])
    with files.ParquetWriter(file, schema) as out:

        def put(values: Sequence[Sequence[Any]]) -> None:
            arrays = [
                arrow.array(list(of_column), field.type)
                for of_column, field in zip(values, schema, strict=True)
            ]
            if arrays and len(arrays[0]):
                out.write_batch(arrow.record_batch(arrays, schema=schema))

        yield put


def is_one(path: str | os.PathLike[str]) -> bool:
    """Whether a file is Parquet; `ConfigurationError` where it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror or error}") from None


def read(path: str | os.PathLike[str]) -> Iterator[FileRow]:
    """Every row of a file."""
    arrow, files = _library()
    try:
        with files.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(_PORTION):
                for values in batch.to_pylist():
                    number += 1
                    yield FileRow(number, values)
    except (arrow.ArrowException, OSError):
        raise ConfigurationError(f"{path} can't be read: it is no whole Parquet file") from None
