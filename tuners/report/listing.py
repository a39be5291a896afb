"""The studies in a storage folder, at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prune_search.errors import UserError
from prune_search.records.fronts import delivered
from prune_search.records.places import storage_path
from tuners.catalog.finding import open_study, studies
from tuners.catalog.lock import driven
from tuners.report.as_json import point_json
from tuners.report.study_report import report

if TYPE_CHECKING:
    from rich.table import Table


def listed(storage: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Each study in plain types, and a line for each that can't be read.

    Args:
        storage: folder of the studies.

    Returns:
        Of each `{name, environment, state, trials_ended, trials, points, hypervolume, best}`.
        State is running, ended, or stopped: killed or interrupted, `resume` goes on with it. Best
        is the sparsest point at `search.retention`, else the best return, as `show --json` has
        points; null before the first.

    Raises:
        UserError: the storage is no folder.
    """
    if storage_path(storage).is_file():
        raise UserError(f"storage: no folder {storage!r}")
    found, wrong = [], []
    for name in studies(storage):
        try:
            found.append(_listed(storage, name))
        except UserError as error:
            wrong.append(f"{name}: {error}")
    return found, wrong


def _listed(storage: str, name: str) -> dict[str, Any]:
    folder, settings = open_study(storage, name)
    study, record = report(folder, settings), folder.study()
    over = record is not None and record.ended is not None
    best = delivered(study.points, study.retention) if study.points else None
    return {
        "name": name,
        "environment": study.environment,
        "state": "running" if driven(folder) else "ended" if over else "stopped",
        "trials_ended": sum(trial.state != "running" for trial in study.trials),
        "trials": settings.search.trials,
        "points": len(study.points),
        "hypervolume": study.hypervolume,
        "best": point_json(best, study.folder, study.final, study.bound) if best else None,
    }


def table(found: list[dict[str, Any]]) -> Table:
    """What `listed` gives, for reading."""
    from rich.markup import escape
    from rich.table import Table

    columns = ("study", "environment", "state", "trials", "best", "sparsity", "retention")
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold underline")
    for column in shown.columns[3:]:
        column.justify = "right"
    for one in found:
        best = one["best"]
        figures = ["-", "", ""]
        if best:
            figures = [best["point"], f"{best['sparsity']:.2%}", f"{best['retention']:.1%}"]
        shown.add_row(
            escape(one["name"]),
            escape(one["environment"]),
            one["state"],
            f"{one['trials_ended']}/{one['trials']}",
            *figures,
        )
    if any(one["state"] == "stopped" for one in found):
        shown.caption = "stopped: killed or interrupted; prune-search resume NAME goes on with it"
        shown.caption_justify = "left"
    return shown
