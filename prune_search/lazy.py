"""Packages whose names are imported when they are asked for: `import` and `--help` stay quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` (PEP 562).

    Args:
        package: its name.
        places: where each of its names lies: `module`, or `module:name` where it is another there.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, other = places[name].partition(":")
        return getattr(importlib.import_module(f"{package}.{module}"), other or name)

    return get
