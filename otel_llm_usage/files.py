"""Files that are there as a whole, or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import ConfigurationError


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Put a file there, in the place of one that may be there: whoever reads never meets half of one.

    `ConfigurationError` if there is no such folder; `OSError` where the system can't write. What is
    there and is no file, such as `/dev/stdout`, is written to and stays what it is.
    """
    with writing(path, overwrite=True) as file:
        file.write(content)


@contextmanager
def writing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """The same for what is written bit by bit: the file is there when the block has ended well.

    Without `overwrite` also `ConfigurationError` if there is such a file already, at the latest at the
    end: then it stays as it is.
    """
    whole = Path(path).resolve()
    if not whole.parent.is_dir():
        raise ConfigurationError(f"{path}: there is no folder {whole.parent}: make it first")
    if whole.exists() and not whole.is_file():
        with whole.open("wb") as file:
            yield file
        return
    if whole.exists() and not overwrite:
        raise _taken(path)
    new = whole.with_name(f".{whole.name[:100]}.{uuid.uuid4().hex}")
    try:
        with new.open("xb") as file:
            if whole.exists():  # who may read it is not for us to change
                shutil.copymode(whole, new)
            yield file
        if overwrite:
            new.replace(whole)
        else:
            try:
                os.link(new, whole)  # unlike a rename, it never replaces
            except FileExistsError:
                raise _taken(path) from None
            except OSError:  # no links there, as on a USB stick
                if whole.exists():
                    raise _taken(path) from None
                new.rename(whole)
    finally:
        new.unlink(missing_ok=True)


def _taken(path: str | os.PathLike[str]) -> ConfigurationError:
    return ConfigurationError(f"{path} is there already: say another file, or overwrite")
