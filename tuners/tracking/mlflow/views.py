"""What MLflow's pages show first: the charts, columns and filter of a view.

MLflow keeps a view that was shared as a tag of the experiment, and opens it by its key in the
address. The tag holds the state of the page as its own scripts write it, which no API does; names
and values are those of MLflow 3.17 (ExperimentPageUIState.tsx, runs-charts.types.ts,
savedViewEnvelope.ts). A named view is also in the page's menu "Views".
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from prune_search.plan.plan import Plan
from prune_search.records.models import StudyRecord
from tuners.tracking.mlflow.runs import CHOICES, FRONT_RETURN, FRONT_SPARSITY, parameters, study_id

ALL = "prune-search"
"""Key of the view of all studies of an experiment; one study's is its id."""

BEGINNING = "PRUNE_SEARCH_UI_BEGINNING"
"""Environment variable that tells `mlflow_app` what `beginning` returns."""

_TRAINING = "workflowType=machine_learning"  # else the UI opens its pages about language models
_CHOICES = 5  # more axes are too close to be read
_COLUMNS = ("best_sparsity", "best_return", "best_retention", "hypervolume")
_SECTIONS = {
    "Fronts": (True, 2),
    "Choices": (True, 1),
    # MLflow's: by the part of a metric's name before the slash, and for those without one.
    "rounds": (True, 3),
    "Model metrics": (True, 3),
    "study": (False, 3),
    "work": (False, 3),
}
"""The page's sections from top to bottom: whether they are open, and charts in a row."""


def runs_url(base: str, experiment_id: str, view: str = ALL) -> str:
    """The page that compares an experiment's runs, as the view of this key shows them."""
    page = f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs"
    return f"{page}?{_TRAINING}&compareRunsMode=CHART&viewStateShareKey={view}"


def compare_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The page that compares runs: parallel coordinates, scatter, box and contour plots."""
    runs = quote(json.dumps(list(run_ids), separators=(",", ":")))
    experiments = quote(json.dumps([experiment_id]))
    # The page takes the address apart by hand: runs must come first, then experiments.
    chosen = f"runs={runs}&experiments={experiments}"
    return f"{base.rstrip('/')}/#/compare-runs?{chosen}&{_TRAINING}"


def same_study(name: str) -> str:
    """MLflow's search filter for a study's runs; its strings know no escapes."""
    mark = '"' if "'" in name else "'"
    return f"tags.study = {mark}{name}{mark}"


def view_tags(study: StudyRecord, plans: Sequence[Plan]) -> dict[str, str]:
    """The experiment's tags that hold the view of this study, and that of all studies.

    Args:
        plans: of the study's trials so far.
    """
    told = choices(plans)
    ours = _envelope(study.name, study.started, _state(same_study(study.name), told))
    return {_tag(study_id(study)): ours, _tag(ALL): _envelope("all studies", 0.0, everything())}


def everything() -> dict[str, Any]:
    """The state of the page that shows all studies."""
    return _state("", CHOICES[:_CHOICES])


def beginning(experiment_id: str) -> str:
    """What a browser's storage is to hold at first, as JSON of its keys and values: pages about
    training, no assistant's panel, and all studies on the experiment's own page.
    """
    page = f'MLflowLocalStorage-1.1-ExperimentPage-["{experiment_id}"]-ReactComponentState'
    values = {
        "mlflow.workflowType_v1": "machine_learning",
        "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
        page: everything(),
    }
    return json.dumps({key: json.dumps(value) for key, value in values.items()})


def newest(tags: Mapping[str, str]) -> str:
    """The key of the view of the study that began last; of all studies' where there is none.

    Args:
        tags: of the experiment; views that others have saved are among them.
    """
    found = {ALL: 0}
    for name, value in tags.items():
        key = name.removeprefix(_tag(""))
        if key != name and re.search(r"-\d+\.\d{3}$", key) and value.startswith("{"):
            found[key] = json.loads(value).get("createdAt", 0)
    return max(found, key=lambda key: found[key])


def choices(plans: Sequence[Plan]) -> list[str]:
    """The parameters that tell trials apart, for parallel coordinates: those that differ first.

    MLflow draws only runs that have them all, so that those are left out that a plan lacks.
    """
    known = [parameters(plan) for plan in plans]
    if not known:
        return list(CHOICES[:_CHOICES])
    shared = [name for name in known[0] if all(name in each for each in known)]
    order = [*CHOICES, *(name for name in shared if name not in CHOICES)]
    found = [name for name in order if name in shared]
    differ = [name for name in found if len({each[name] for each in known}) > 1]
    return [*differ, *(name for name in found if name not in differ)][:_CHOICES]


def _tag(key: str) -> str:
    return f"mlflow.sharedViewState.{key}"


def _envelope(name: str, created_s: float, state: Mapping[str, Any]) -> str:
    """A named view; deflated, for a tag of an experiment holds 5,000 characters."""
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    created = round(1000 * created_s)
    envelope = {"name": name, "createdAt": created, "updatedAt": created}
    return json.dumps({**envelope, "state": f"deflate;{packed}"})


def _state(search: str, told: Sequence[str]) -> dict[str, Any]:
    columns = [f"metrics.`{name}`" for name in _COLUMNS] + [f"params.`{name}`" for name in told]
    return {
        "searchFilter": search,
        # The best first: the Table tab compares the first ten.
        "orderByKey": "metrics.`hypervolume`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,  # else sections are put in alphabetical order
        "compareRunSections": [
            {"uuid": name, "name": name, "display": shown, "isReordered": False, "columns": columns}
            for name, (shown, columns) in _SECTIONS.items()
        ],
        "compareRunCharts": _charts(told),
    }


def _charts(told: Sequence[str]) -> list[dict[str, Any]]:
    def chart(kind: str, section: str, **fields: Any) -> dict[str, Any]:
        given = {"type": kind, "metricSectionId": section, "deleted": False, "isGenerated": False}
        return {"uuid": f"{section} {kind}", **given, **fields}

    def metric(name: str) -> dict[str, str]:
        return {"key": name, "type": "METRIC"}

    return [
        chart(
            "LINE",
            "Fronts",
            metricKey=FRONT_RETURN,
            selectedMetricKeys=[FRONT_RETURN],
            xAxisKey="metric",
            selectedXAxisMetricKey=FRONT_SPARSITY,
            useGlobalXaxisKey=False,
            displayPoints=True,
            lineSmoothness=0,
        ),
        chart("SCATTER", "Fronts", xaxis=metric("best_sparsity"), yaxis=metric("best_return")),
        chart(
            "PARALLEL",
            "Choices",
            selectedParams=list(told),
            selectedMetrics=["best_sparsity", "best_return"],
        ),
        # MLflow adds a chart for each metric that has none; an axis needs none.
        {**chart("LINE", "axis", metricKey=FRONT_SPARSITY), "deleted": True},
    ]
