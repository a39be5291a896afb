"""Files replaced as a whole: readers and killed writers leave the old one or the new one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Gives a file new content, on the disk before it has its name; or leaves it as it was.

    Raises:
        OSError: it can't be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # other writers have theirs
    try:
        with partial.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
