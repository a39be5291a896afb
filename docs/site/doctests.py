"""Examples in docstrings as code: Markdown takes what begins with `>>>` for quotes."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Module, Object

_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *\n).+)*", re.MULTILINE)


class Doctests(Extension):
    """Fences them, with the output that follows."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Called by Griffe once a package is loaded."""
        _fence(pkg)


def _fence(item: Object) -> None:
    if item.docstring is not None:
        item.docstring.value = _EXAMPLE.sub(
            lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", item.docstring.value
        )
    for member in item.members.values():
        if isinstance(member, Object):  # and no alias of one
            _fence(member)
