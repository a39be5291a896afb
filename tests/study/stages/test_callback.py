"""What Tune tells the driver: how trials end, and what is said of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from prune_search.experiment.search_section import Search
from prune_search.records.folder import StudyFolder
from prune_search.records.reasons import BUDGET_USED, SEARCH_TIME_USED, below_floor, stopped_by
from tests.studies import make_experiment, make_study, make_trial
from tests.study.driving import driven
from tuners.study.stages.callback import StudyCallback

pytestmark = pytest.mark.timeout(400)


def test_a_trial_whose_process_never_began_is_closed(tmp_path: Path) -> None:
    """Tune knows no start of it, and it has written no record."""
    from ray.tune.experiment import Trial

    folder = StudyFolder(tmp_path, "study")
    callback = StudyCallback(driven(folder, make_experiment()))
    fields = {"number": 0, "plan": make_trial(0).plan.model_dump()}
    callback._close(Trial("never", stub=True, config=fields), "its process died")
    (record,) = folder.trials()
    assert (record.state, record.reason) == ("failed", "its process died")


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        ("complete", BUDGET_USED, ""),
        ("complete", below_floor(0.5, 2), f"t00 given up: {below_floor(0.5, 2)}"),
        ("stopped", stopped_by("asha"), "t00 given up: stopped by asha"),
        ("stopped", SEARCH_TIME_USED, f"t00 stopped: {SEARCH_TIME_USED}"),
        ("running", "", "t00 given up: stopped by asha"),  # as Tune's schedulers leave it
    ],
)
def test_the_end_of_a_trial_is_told_in_the_tables_words(
    tmp_path: Path, state: str, reason: str, told: str
) -> None:
    from ray.tune.experiment import Trial

    folder, stream = make_study(tmp_path, trials=0), io.StringIO()
    rounds = 6 if reason == BUDGET_USED else 2
    folder.write_trial(make_trial(0, rounds, state, reason=reason))
    search = Search(scheduler={"name": "asha"}, objectives=["retention"])  # type: ignore[arg-type]
    experiment = make_experiment().model_copy(update={"search": search})
    callback = StudyCallback(driven(folder, experiment, Console(file=stream, width=200)))
    trial = Trial("ended", stub=True, config={"number": 0})
    callback.on_trial_complete(0, [], trial)
    of_rounds, *notes = [line.partition("] ")[2] for line in stream.getvalue().splitlines()]
    assert of_rounds.startswith("t00/")
    assert notes == ([told] if told else [])
