"""Where modules are imported from."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path


def import_from_here() -> None:
    """Lets modules of the working folder be imported, but none in place of the standard library's.

    There the user's own environments are. `python -m` has put the folder first.
    """
    here = str(Path.cwd())
    sys.path[:] = [path for path in sys.path if path not in ("", here)]
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    standard |= {str(Path(path) / "lib-dynload") for path in standard}
    last = max((i for i, path in enumerate(sys.path) if path in standard), default=-1)
    sys.path.insert(last + 1, here)
