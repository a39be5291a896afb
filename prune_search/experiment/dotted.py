"""Code that an experiment names: classes and functions by dotted name, from the Python path."""

from __future__ import annotations

import importlib
from typing import Any

from prune_search.errors import UserError, shown
from prune_search.experiment.extras import reason


def imported(field: str, name: str) -> Any:
    """What `package.module.Name` names.

    Raises:
        UserError: the module can't be imported, or has no such name.
    """
    module, _, attribute = name.rpartition(".")
    try:
        if not module:
            raise ImportError("it must be package.module.Name")
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise UserError(f"{field}: cannot import {shown(name)}: {reason(error)}") from None
