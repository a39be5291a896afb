"""Modules of the user's that register entries of their own: imported before names are looked up."""

from __future__ import annotations

from collections.abc import Iterable

from prune_search.experiment.dotted import module


def import_extensions(modules: Iterable[object]) -> None:
    """Imports an experiment's `modules`, each process for itself.

    Raises:
        UserError: one can't be imported.
    """
    for name in modules:
        module("modules", str(name))
