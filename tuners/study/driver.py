"""A study from its experiment file to its front: the driver.

Three stages, each of which finds what an earlier, killed driver left: the baseline (cached), the
search (Tune, Optuna), the re-evaluation of the front on seeds that the search never saw.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from prune_search.errors import UserError, lost
from prune_search.experiment import file as experiment_file
from prune_search.experiment.fields import as_choices
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.records.folder import BASELINE_FILE, StudyFolder
from prune_search.records.models import (
    BaselineRecord,
    StudyRecord,
    trial_name,
)
from prune_search.records.reasons import FAILED, STOPPED_BY_SEARCH
from prune_search.sparsity.allocation import ALLOCATIONS
from prune_search.storage.mirror import Mirror
from prune_search.trial.baseline import BaselineTrainer, cached_baseline
from prune_search.trial.determinants import determinants, differences
from prune_search.trial.preflight import check_baseline, prunable_layers
from prune_search.trial.trainable import PruningTrial
from prune_search.user_code import of_code
from tuners.catalog.lock import driving
from tuners.display.live import Progress
from tuners.search.beginnings import screened
from tuners.search.database import states
from tuners.search.schedulers import scheduler
from tuners.search.searcher import StudySearch
from tuners.signals import sigterm_interrupts
from tuners.study.callback import StudyCallback
from tuners.study.capacity import (
    check_room,
    cluster,
    concurrency,
    may_grow,
    room,
    trial_resources,
    waiting_for,
)
from tuners.study.cluster import connection
from tuners.study.dense_control import Control
from tuners.study.final_evaluation import evaluate_front
from tuners.study.keeping import keep, push_results
from tuners.study.stoppers import Budget, EarlyStopping
from tuners.tracking.projector import Tracker, TrackerReport, tracking_of

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
    record = folder.study() or StudyRecord(name=folder.name, started=time.time())
    _check_ready(experiment, record, progress)
    mirror = Mirror(folder.path.parent, experiment.mirror)
    tracker = Tracker(folder, experiment, tracking_of(folder, experiment), tell=progress.note)
    patience_s = _PATIENCE_S
    with (
        sigterm_interrupts(),
        driving(folder),
        progress,
        connection(experiment.resources, progress.begin),
    ):
        request = trial_resources(experiment)
        _require_room(experiment, request, progress)
        progress.room(concurrency(experiment, request))
        tracker.start()
        try:
            record = record.model_copy(update=_baseline(folder, experiment, record, progress))
            baseline = record.baseline
            assert baseline is not None
            dense = Path(baseline.checkpoint).parent
            mirror.fetch(dense, BASELINE_FILE)  # another node trained it
            mirror.offer(dense, BASELINE_FILE)  # or this one, before there was a mirror
            check_baseline(experiment, baseline)
            progress.room(at_a_time := concurrency(experiment, request))
            record = record.model_copy(update={"concurrent_trials": at_a_time})
            keep(record, folder, progress)
            mirror.push(folder.study_file)
            progress.begin_search(baseline)
            control = Control(
                folder.path.parent, experiment, baseline, record.control, request, progress
            )
            try:
                if max(at_a_time, room(request)) > 1:  # else trials would wait for it
                    control.start()
                search(folder, experiment, baseline, progress, tracker, mirror, request, at_a_time)
                record = record.model_copy(update={"control": control.result()})
            except Exception:  # where the user stops it, it ends with Ray
                control.stop()
                raise
            progress.begin_final()
            evaluate_front(folder, experiment, baseline, record.control, progress)
            record = record.model_copy(update={"ended": time.time()})
        except KeyboardInterrupt:
            patience_s = _INTERRUPTED_S
            raise
        finally:
            spent = {"wall_s": record.wall_s + time.monotonic() - began}
            keep(record.model_copy(update=spent), folder, progress)
            progress.close(tracker.name)
            push_results(folder, mirror)
            report = tracker.finish(patience_s)
            progress.end()
    return report


def _check_ready(experiment: Experiment, record: StudyRecord, progress: Progress) -> None:
    """That it is trusted, that its modules and names are there, that its baseline is its own."""
    require_trust(experiment)
    experiment_file.ready(experiment)
    if record.baseline is not None:
        _check_unchanged(record.baseline, experiment, progress)


def _require_room(experiment: Experiment, request: Any, progress: Progress) -> None:
    """Refuses what the cluster will never have room for; says what is waited for where it may.

    Raises:
        UserError: as `check_room`.
    """
    if not (experiment.resources.address and may_grow()):
        check_room(request.bundles, experiment.resources, cluster())
    if experiment.resources.address and (found := waiting_for(request)):
        progress.note(found)


def _baseline(
    folder: StudyFolder, experiment: Experiment, study: StudyRecord, progress: Progress
) -> dict[str, Any]:
    """The baseline, found or trained, and the seconds that took, as fields of the study."""
    import ray

    storage = folder.path.parent
    known = study.baseline or cached_baseline(storage, experiment)
    if known is not None:
        return {"baseline": known}
    progress.begin_baseline()
    resources = experiment.resources
    gpus = 0 if resources.learners else resources.gpus_per_learner
    retries, before = experiment.search.retries, ""
    while True:
        trainer = (
            ray.remote(BaselineTrainer)
            .options(num_cpus=1, num_gpus=gpus)
            .remote(storage, experiment)
        )
        try:
            while True:
                state = ray.get(trainer.step.remote())
                progress.baseline_step(state)
                if state.note:
                    progress.note(state.note)
                if state.done:
                    break
            progress.begin_measuring()
            record: BaselineRecord = ray.get(trainer.finish.remote())
            for note in record.notes:
                progress.note(note)
            return {"baseline": record, "baseline_s": record.train_s}
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                raise cause from None
            reason = lost(error)
            if retries == 0 or (of_code(error) and reason == before):  # it always fails so
                raise UserError(f"baseline: its training failed: {reason}") from None
            retries, before = retries - 1, reason
            progress.note(f"the baseline's training failed and begins anew: {reason}")
        finally:
            ray.kill(trainer)


def _check_unchanged(baseline: BaselineRecord, experiment: Experiment, progress: Progress) -> None:
    """Whether a study's baseline is still the one that its experiment describes.

    Raises:
        UserError: the task, its settings or its code have changed. Of other software that has,
            the user is told.
    """
    if not baseline.determinants:
        progress.note("baseline: of an earlier version, which kept no list of what it depends on")
        return
    settings, software = differences(baseline.determinants, determinants(experiment))
    if settings:
        raise UserError(
            f"baseline: the study's is of another experiment: {'; '.join(settings)}. Undo that, or"
            " begin a new study"
        )
    if software:
        progress.note(
            f"baseline: the study's was made with other software: {'; '.join(software)}; what"
            " follows is compared with it all the same"
        )


def search(
    folder: StudyFolder,
    experiment: Experiment,
    baseline: BaselineRecord,
    progress: Progress,
    tracker: Tracker,
    mirror: Mirror,
    request: Any,
    at_a_time: int,
    trial: type[PruningTrial] = PruningTrial,
) -> None:
    """Runs the trials that are left of a study.

    Args:
        request: resources of a trial, as `trial_resources` gives them.
        at_a_time: trials at a time.
        trial: what runs one.

    Raises:
        KeyboardInterrupt: stopped by the user; the study can be resumed.
    """
    from ray import tune

    layers: tuple[str, ...] = ()
    if any(
        ALLOCATIONS[name].fitted_to == "densities"
        for name in as_choices(experiment.pruning.allocation)
    ):
        layers = prunable_layers(experiment)
    first: list[dict[str, Any]] = []
    if experiment.search.screening and not folder.trials():
        progress.note("screening: pruning each layer of the baseline alone")
        first = screened(experiment, folder, baseline)
    searcher = StudySearch(experiment, folder, layers, first, tell=progress.note)
    progress.planned(searcher.trials)
    left = searcher.trials - searcher.finished
    budget = Budget(experiment.search, folder)
    if left <= 0 or budget.stop_all():
        _close(folder, searcher, budget, tracker, mirror)
        return
    trainable = tune.with_resources(
        tune.with_parameters(
            trial,
            experiment=experiment,
            storage=str(folder.path.parent),
            study=folder.name,
            baseline=baseline,
        ),
        request,
    )
    stop: tune.Stopper = budget
    settings = experiment.search.scheduler
    if experiment.search.stopping and not settings:
        early = EarlyStopping(experiment.search.stopping, folder, mirror, experiment.search.seeds)
        stop = tune.stopper.CombinedStopper(budget, early)
    callback = StudyCallback(folder, progress, tracker, mirror, experiment.search)
    shutil.rmtree(folder.path / "tune", ignore_errors=True)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler(experiment),
            num_samples=left,
            max_concurrent_trials=at_a_time,
            reuse_actors=True,
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.path),
            # Trials write checkpoints of their own, one a round.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=experiment.search.retries),
            callbacks=[callback],
            stop=stop,
            verbose=0,
        ),
    )
    tuner.fit()
    _close(folder, searcher, budget, tracker, mirror)
    if not budget.stop_all() and searcher.finished < searcher.trials:
        raise KeyboardInterrupt


def _close(
    folder: StudyFolder, searcher: StudySearch, budget: Budget, tracker: Tracker, mirror: Mirror
) -> None:
    """Closes the trials that the search has ended; a driver killed meanwhile may have left some."""
    if budget.reason:
        searcher.end()
    known = states(folder)
    for trial in folder.trials():
        told = known.get(trial.number, TrialState.RUNNING)
        if trial.state == "running" and told.is_finished():
            closed = {"state": "stopped", "reason": budget.reason or STOPPED_BY_SEARCH}
            if told is TrialState.FAIL and not budget.reason:
                closed = {"state": "failed", "reason": FAILED}
            folder.write_trial(trial.model_copy(update=closed))
            mirror.push(folder.trial_file(trial.number))
            tracker.trial_changed(trial.number)


def _trial_name(trial: Any) -> str:
    return trial_name(trial.config["number"])
