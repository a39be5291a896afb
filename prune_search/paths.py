"""Where modules are imported from, and where pages are that messages name."""

from __future__ import annotations

import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, files
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


def page(name: str) -> Path | None:
    """A page of the documentation on this machine: in the checkout, or where pip has put it.

    Args:
        name: such as `using.md`.
    """
    found = Path(__file__).resolve().parents[1] / "docs" / name
    if found.is_file():
        return found
    try:
        installed = files("prune-search") or []
    except PackageNotFoundError:  # a copy without pip's records
        return None
    pages = (Path(str(file.locate())).resolve() for file in installed if file.name == name)
    return next((path for path in pages if path.is_file()), None)
