"""The second stage of a study: the search, by Tune and Optuna, over the trials that are left."""

from __future__ import annotations

import shutil
from typing import Any

from optuna.trial import TrialState

from prune_search.experiment.fields import as_choices
from prune_search.records.models import TrialRecord, trial_name
from prune_search.records.reasons import FAILED, STOPPED_BY_SEARCH
from prune_search.sparsity.allocation import ALLOCATIONS
from prune_search.trial.preflight import prunable_layers
from prune_search.trial.trainable import PruningTrial
from tuners.search.beginnings import screened
from tuners.search.database import states
from tuners.search.schedulers import scheduler
from tuners.search.searcher import StudySearch
from tuners.search.usual import fallen_back
from tuners.study.stages.callback import StudyCallback
from tuners.study.stages.driven import DrivenStudy
from tuners.study.stages.stoppers import Budget, EarlyStopping


def search(study: DrivenStudy, trial: type[PruningTrial] = PruningTrial) -> None:
    """Runs the trials that are left of a study, `concurrent_trials` of its record at a time.

    Args:
        study: with its baseline.
        trial: what runs one.

    Raises:
        KeyboardInterrupt: stopped by the user; the study can be resumed.
    """
    searcher = _searcher(study)
    study.progress.planned(searcher.trials)
    budget = Budget(study.experiment.search, study.folder)
    if not searcher.done and not budget.stop_all():
        _tuner(study, searcher, budget, trial).fit()
    close(study, searcher, budget)
    if not budget.stop_all() and not searcher.done:
        raise KeyboardInterrupt


def close(study: DrivenStudy, searcher: StudySearch, budget: Budget) -> None:
    """Closes the trials that the search has ended; a driver killed meanwhile may have left some."""
    if budget.reason:
        searcher.end()
    known = states(study.folder)
    for trial in study.folder.trials():
        told = known.get(trial.number, TrialState.RUNNING)
        if trial.state == "running" and told.is_finished():
            closed = {"state": "stopped", "reason": budget.reason or STOPPED_BY_SEARCH}
            if told is TrialState.FAIL and not budget.reason:
                closed = {"state": "failed", "reason": FAILED}
            record = trial.model_copy(update=closed)
            study.folder.write_trial(record, study.waits)
            study.tracker.trial_changed(record)


def _searcher(study: DrivenStudy) -> StudySearch:
    """What suggests plans, from what the study begins with on."""
    experiment, folder, tell = study.experiment, study.folder, study.progress.note
    layers: tuple[str, ...] = ()
    if any(
        ALLOCATIONS[name].fitted_to == "densities"
        for name in as_choices(experiment.pruning.allocation)
    ):
        layers = prunable_layers(experiment)
    first: list[dict[str, Any]] = []
    if experiment.search.screening and not folder.trials():
        tell("screening: pruning each layer of the baseline alone")
        first = screened(experiment, folder, study.baseline)
    if why := fallen_back(experiment.search):
        tell(f"plans are chosen by tpe; {why}")

    def goes_on(trial: TrialRecord) -> None:
        study.progress.trial_changed(trial)
        study.tracker.trial_changed(trial)
        tell(f"{trial.name} goes on after all, with round {len(trial.points)}")

    searcher = StudySearch(experiment, folder, layers, first, tell=tell, goes_on=goes_on)
    return searcher


def _tuner(
    study: DrivenStudy, searcher: StudySearch, budget: Budget, trial: type[PruningTrial]
) -> Any:
    """Tune, set up for the trials that are left."""
    from ray import tune

    folder, settings = study.folder, study.experiment.search
    stop: tune.Stopper = budget
    if settings.stopping and not settings.scheduler:
        early = EarlyStopping(settings.stopping, folder, settings.seeds)
        stop = tune.stopper.CombinedStopper(budget, early)
    shutil.rmtree(folder.tune_path, ignore_errors=True)
    trainable = tune.with_parameters(
        trial,
        experiment=study.experiment,
        storage=str(folder.path.parent),
        study=folder.name,
        baseline=study.baseline,
    )
    return tune.Tuner(
        tune.with_resources(trainable, study.request),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler(study.experiment),
            num_samples=-1,  # the searcher says when there are no more
            max_concurrent_trials=study.record.concurrent_trials,
            reuse_actors=True,
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=folder.tune_path.name,
            storage_path=str(folder.path),
            # Trials write checkpoints of their own, one a round.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=settings.retries),
            callbacks=[StudyCallback(study)],
            stop=stop,
            verbose=0,
        ),
    )


def _trial_name(trial: Any) -> str:
    number, begun = trial.config["number"], trial.config["begun"]
    again = "" if begun == number else f"-goes-on-{begun}"
    return f"{trial_name(number)}{again}"
