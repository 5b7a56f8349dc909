"""Files that are there as a whole, or not at all."""

import os
import uuid
from pathlib import Path

from .errors import ConfigurationError


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Put a file there, in the place of one that may be there: whoever reads never meets half of one.

    `ConfigurationError` if there is no such folder; `OSError` where the system can't write. What is
    there and is no file, such as `/dev/stdout`, is written to and stays what it is.
    """
    whole = Path(path).resolve()
    if not whole.parent.is_dir():
        raise ConfigurationError(f"{path}: there is no folder {whole.parent}: make it first")
    if whole.exists() and not whole.is_file():
        whole.write_bytes(content)
        return
    new = whole.with_name(f".{whole.name[:100]}.{uuid.uuid4().hex}")
    try:
        new.write_bytes(content)
        new.replace(whole)
    finally:
        new.unlink(missing_ok=True)
