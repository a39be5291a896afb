"""Code that an experiment names: modules, classes and functions, from the Python path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from prune_search.errors import UserError, shown
from prune_search.experiment.extras import reason

T = TypeVar("T")


def importing(field: str, name: str, load: Callable[[], T]) -> T:
    """What `load` gives, whatever user's code it runs.

    Args:
        field: of the experiment file, for the message.
        name: what is imported, as the field has it.
        load: imports it.

    Raises:
        UserError: it can't be imported, and why.
    """
    try:
        return load()
    except Exception as error:  # whatever the user's code raises
        raise UserError(f"{field}: cannot import {shown(name)}: {reason(error)}") from None


def module(field: str, name: str) -> ModuleType:
    """A module by its name.

    Raises:
        UserError: as `importing`.
    """
    return importing(field, name, lambda: importlib.import_module(name))


def imported(field: str, name: str) -> Any:
    """What `package.module.Name` names.

    Raises:
        UserError: as `importing`; the module may lack the name.
    """
    return importing(field, name, lambda: _attribute(name))


def _attribute(name: str) -> Any:
    place, _, attribute = name.rpartition(".")
    if not place:
        raise ImportError("it must be package.module.Name")
    return getattr(importlib.import_module(place), attribute)
