"""Modules of the user's that register entries of their own: imported before names are looked up."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from prune_search.errors import UserError, shown
from prune_search.experiment.extras import reason


def import_extensions(modules: Iterable[object]) -> None:
    """Imports an experiment's `modules`, each process for itself.

    Raises:
        UserError: one can't be imported.
    """
    for module in modules:
        try:
            importlib.import_module(str(module))
        except Exception as error:  # whatever the user's code raises
            raise UserError(f"modules: cannot import {shown(module)}: {reason(error)}") from None
