"""A study from its experiment file to its front: the driver.

Three stages, each of which finds what an earlier, killed driver left: the baseline (cached), the
search (Tune, Optuna), the re-evaluation of the front on seeds that the search never saw.
"""

from __future__ import annotations

import time
from contextlib import suppress

from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.records.folder import StudyFolder
from prune_search.records.stages import BASELINE, CONTROL, FINAL, FIRST, OVER, RAY
from prune_search.rllib.running import quiet_rllib
from prune_search.storage.mirror import MirrorError
from tuners.catalog.lock import driving
from tuners.display.live import Progress
from tuners.signals import sigterm_interrupts
from tuners.study.capacity import check_room, cluster, concurrency, may_grow, room, waiting_for
from tuners.study.cluster import connection
from tuners.study.stages.baseline import check_unchanged, find_baseline
from tuners.study.stages.dense_control import Control
from tuners.study.stages.driven import DrivenStudy
from tuners.study.stages.final_evaluation import evaluate_front
from tuners.study.stages.trials import search
from tuners.tracking.projector import TrackerReport

_PATIENCE_S, _INTERRUPTED_S = 60.0, 10.0  # that MLflow gets at the end; what kills waits no longer


def run(
    folder: StudyFolder, experiment: Experiment, progress: Progress, began: float | None = None
) -> TrackerReport:
    """Runs a study, or goes on with it, to its end.

    Args:
        folder: the study's.
        experiment: what it does.
        progress: the display.
        began: when the command was started, by `time.monotonic()`; now if None.

    Raises:
        UserError: no cluster, or one without room for a trial; a baseline that is no better than
            random actions or of another experiment; pickles that the user has not said they trust;
            or another process drives it.
        KeyboardInterrupt: stopped by the user; the study can be resumed.
    """
    began = time.monotonic() if began is None else began
    quiet_rllib()
    require_trust(experiment)
    experiment_file.ready(experiment)
    study = DrivenStudy(folder, experiment, progress, began)
    check_unchanged(study)
    study.enter(RAY)
    patience_s = _PATIENCE_S
    with (
        sigterm_interrupts(),
        driving(folder),
        progress,
        connection(experiment.resources, progress.begin),
    ):
        study.enter(BASELINE)
        _require_room(study)
        study.tracker.start()
        try:
            _stages(study)
        except KeyboardInterrupt:
            patience_s = _INTERRUPTED_S
            raise
        finally:
            study.enter(OVER)
            with suppress(MirrorError):  # a store that is away by now keeps no study from ending
                study.keep()
            progress.close(study.tracker.name)
            report = study.tracker.finish(patience_s)
            progress.end()
    return report


def _stages(study: DrivenStudy) -> None:
    """The baseline, the search with the control beside it, the front measured again."""
    find_baseline(study)
    _settle_room(study)
    study.keep()
    study.progress.begin_search(study.baseline)
    control = Control(study)
    try:
        if max(study.record.concurrent_trials, room(study.request)) > 1:  # else trials would wait
            control.start()
        study.enter(FIRST)
        search(study)
        study.enter(CONTROL)
        study.know(control=control.result())
    except Exception:  # where the user stops it, it ends with Ray
        control.stop()
        raise
    study.enter(FINAL)
    study.progress.begin_final()
    evaluate_front(study)
    study.know(ended=time.time())


def _require_room(study: DrivenStudy) -> None:
    """Refuses what the cluster will never have room for; says what is waited for where it may.

    Raises:
        UserError: as `check_room`.
    """
    resources = study.experiment.resources
    if not (resources.address and may_grow()):
        check_room(study.request.bundles, resources, cluster())
    if resources.address and (found := waiting_for(study.request)):
        study.progress.note(found)
    study.progress.room(concurrency(study.experiment, study.request))


def _settle_room(study: DrivenStudy) -> None:
    """How many trials run at a time, now that the cluster may have grown."""
    at_a_time = concurrency(study.experiment, study.request)
    study.progress.room(at_a_time)
    study.know(concurrent_trials=at_a_time)
