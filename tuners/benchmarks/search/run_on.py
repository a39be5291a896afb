"""Trials that a search has stopped, run on: how many of them would still have improved its front.

A round depends on the checkpoint before it and on its seed alone. So what a stopped trial measures
when it goes on is what it would have measured.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prune_search.errors import UserError
from prune_search.experiment.extensions import import_extensions
from prune_search.experiment.schema import Experiment
from prune_search.ray_failures import lost
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, TrialRecord
from prune_search.records.reasons import CUT_OFF
from prune_search.rllib.running import process_settings, quiet_rllib
from prune_search.storage.mirror import Mirror
from prune_search.trial.rounds import TrialRounds
from tuners.search.improvement import Stops, improves
from tuners.study.capacity import trial_resources
from tuners.study.cluster import connection
from tuners.study.placement import placed

_FOLDER = "run-on"
"""Within the study's own, which stays as it is."""


def run_on(folder: StudyFolder, experiment: Experiment) -> Stops:
    """Runs each trial that `search.stopping` has stopped to its end; what has run on is found.

    A trial is held against all that had been measured when it was stopped.

    Args:
        folder: of a study that has ended.
        experiment: the study's.

    Raises:
        UserError: no cluster, or a trial fails on its way.
    """
    trials = folder.trials()
    stopped = [one for one in trials if one.state == "stopped" and one.reason not in CUT_OFF]
    further = StudyFolder(folder.path, _FOLDER, folder.mirror)
    for trial in stopped:
        if further.trial(trial.number) is None:
            _thaw(folder, further, trial)
    known = {trial.number: trial for trial in further.trials()}
    if left := [trial for trial in known.values() if not trial.ended]:
        record = folder.study()
        assert record is not None and record.baseline is not None
        _run(experiment, further, record.baseline, left)
        known = {trial.number: trial for trial in further.trials()}
    own = experiment.search.stopping
    gain = own.gain if own else 0.0
    wrong = 0
    for trial in stopped:
        until = trial.points[-1].time
        seen = [point for each in trials for point in each.points if point.time <= until]
        wrong += improves(known[trial.number].points[len(trial.points) :], seen, gain)
    return Stops(len(stopped), wrong)


def _thaw(folder: StudyFolder, further: StudyFolder, trial: TrialRecord) -> None:
    """Has a trial running in another folder, as it was when it was stopped."""
    last = trial.points[-1]
    kept = partial(shutil.copytree, folder.bring_checkpoint(last))
    further.write_checkpoint(trial.number, last.round, kept)
    for curves in folder.path.glob("sensitivity/*"):  # not to be measured again
        target = further.path / curves.relative_to(folder.path)
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(curves, target)
    further.write_trial(trial.model_copy(update={"state": "running", "reason": ""}))


def _run(
    experiment: Experiment,
    further: StudyFolder,
    baseline: BaselineRecord,
    trials: Sequence[TrialRecord],
) -> None:
    """All of them, as many at a time as there is room for."""
    import ray

    quiet_rllib()
    with connection(experiment.resources):
        request = trial_resources(experiment)
        going = {}
        for trial in trials:
            task, place = placed(_to_its_end, request, experiment.search.retries)
            going[task.remote(experiment, further.path, baseline, trial.number)] = place, trial
        try:
            while going:
                (ended,), _ = ray.wait(list(going))
                place, trial = going.pop(ended)
                try:
                    ray.get(ended)
                except ray.exceptions.RayError as error:
                    raise UserError(
                        f"trial {trial.number} of {further.path.parent.name!r} cannot run on:"
                        f" {lost(error)}"
                    ) from None
                finally:
                    ray.util.remove_placement_group(place)
        finally:
            for task, (place, _) in going.items():
                ray.cancel(task, force=True)
                ray.util.remove_placement_group(place)


def _to_its_end(experiment: Experiment, path: Path, baseline: BaselineRecord, number: int) -> None:
    """One trial, from its last round on, in this process."""
    process_settings(experiment.resources.threads)
    import_extensions(experiment.modules)
    mirror = Mirror(experiment.storage, experiment.mirror)
    folder = StudyFolder(path.parent, path.name, mirror)
    record = folder.trial(number)
    assert record is not None
    rounds = TrialRounds(experiment, folder, baseline, number, record.plan)
    try:
        while not rounds.done:
            rounds.step()
    finally:
        rounds.stop()
