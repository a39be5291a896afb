"""The addresses of MLflow's pages that show a study."""

from __future__ import annotations

import base64
import json
import zlib

import pytest

from prune_search.records.models import StudyRecord
from tests.studies import STARTED, make_trial
from tests.tracking.stores import Finished, client_of
from tuners.tracking.mlflow.runs import study_id
from tuners.tracking.mlflow.views import choices, compare_url, runs_url


@pytest.mark.slow
def test_the_addresses_open_views_that_exist(finished: Finished) -> None:
    report = finished.report
    tags = client_of(finished.storage).get_experiment(report.where.experiment_id).tags
    key = report.where.runs_url.partition("viewStateShareKey=")[2]
    tag = tags[f"mlflow.sharedViewState.{key}"]
    assert len(tag) <= 5_000  # MLflow's limit
    envelope = json.loads(tag)
    assert envelope["name"] == "cartpole"
    packed = envelope["state"].removeprefix("deflate;")
    view = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert view["searchFilter"] == "tags.study = 'cartpole'"
    assert view["runsHiddenMode"] == "SHOW_ALL"
    # What a chart shows, runs have: MLflow leaves out others without a word.
    data = [run.data for key, run in finished.runs.items() if key != "summary"]
    columns = {f"metrics.`{key}`" for run in data for key in run.metrics}
    columns |= {f"params.`{key}`" for run in data for key in run.params}
    assert set(view["selectedColumns"]) <= columns
    line, scatter, parallel, _ = view["compareRunCharts"]
    for run in data:
        assert {line["metricKey"], line["selectedXAxisMetricKey"]} <= run.metrics.keys()
        assert {scatter["xaxis"]["key"], scatter["yaxis"]["key"]} <= run.metrics.keys()
        assert set(parallel["selectedMetrics"]) <= run.metrics.keys()
        assert set(parallel["selectedParams"]) <= run.params.keys()
    sections = {section["uuid"] for section in view["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in (line, scatter, parallel)} <= sections
    assert report.where.runs["t00"] in report.where.compare_url
    assert report.where.runs["summary"] not in report.where.compare_url


def test_choices_that_differ_are_shown_first() -> None:
    plans = [make_trial(number).plan for number in range(10)]
    assert choices([])[:3] == ["criterion", "allocation", "schedule"]
    assert choices(plans) == ["criterion", "allocation", "schedule", "scope", "granularity"]
    alike = [plans[0].model_copy(update={"rounds": rounds}) for rounds in (3, 6)]
    assert choices(alike)[0] == "rounds" and len(choices(alike)) == 5


def test_addresses() -> None:
    study = StudyRecord(name="it's", started=STARTED)
    assert compare_url("http://host:1/", "7", ["a", "b"]) == (
        "http://host:1/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%227%22%5D"
        "&workflowType=machine_learning"
    )
    assert runs_url("http://host:1", "7", study_id(study)) == (
        "http://host:1/#/experiments/7/runs?workflowType=machine_learning"
        "&compareRunsMode=CHART&viewStateShareKey=it-s-1760000000.000"
    )
    assert runs_url("http://host:1", "7").endswith("&viewStateShareKey=prune-search")
