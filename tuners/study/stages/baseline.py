"""The first stage of a study: its baseline, found or trained, and still its own."""

from __future__ import annotations

from typing import Any

from prune_search.errors import NoBetterThanRandom, UserError
from prune_search.ray_failures import lost
from prune_search.records.baselines import BaselineFolder
from prune_search.records.fronts import noise
from prune_search.records.models import BaselineRecord
from prune_search.trial.baselines.baseline import (
    BaselineProgress,
    baseline_folder,
    followed,
    train_baseline,
)
from prune_search.trial.baselines.determinants import determinants, differences
from prune_search.trial.preflight import check_baseline
from prune_search.user_code import of_code
from tuners.commands import command
from tuners.study.stages.driven import DrivenStudy


def check_unchanged(study: DrivenStudy) -> None:
    """Whether a study's baseline is still the one that its experiment describes.

    Raises:
        UserError: the task, its settings or its code have changed. Of other software that has,
            the user is told.
    """
    baseline, tell = study.record.baseline, study.progress.note
    if baseline is None:
        return
    if not baseline.determinants:
        tell("baseline: of an earlier version, which kept no list of what it depends on")
        return
    settings, software = differences(baseline.determinants, determinants(study.experiment))
    if settings:
        raise UserError(
            f"baseline: the study's is of another experiment: {'; '.join(settings)}. Undo that, or"
            " begin a new study"
        )
    if software:
        tell(
            f"baseline: the study's was made with other software: {'; '.join(software)}; what"
            " follows is compared with it all the same"
        )


def find_baseline(study: DrivenStudy) -> None:
    """Has the baseline in the study's record and on this node, trained if it has to be.

    Raises:
        UserError: it is no better than random actions, its training fails, or nothing of it would
            be left.
    """
    storage, mirror = study.folder.path.parent, study.folder.mirror
    if study.record.baseline is None:
        known = baseline_folder(storage, study.experiment).record()
        if known is None:
            known = _trained(study)
            study.know(baseline_s=known.train_s)
        else:
            for note in noise(known):
                study.progress.note(note)
        study.know(baseline=known)
    folder = BaselineFolder.of(study.baseline, mirror)
    folder.bring()  # another node trained it
    folder.offer()  # or this one, before there was a mirror
    check_baseline(study.experiment, study.baseline)


def _trained(study: DrivenStudy) -> BaselineRecord:
    """Trains it in a process of its own, which is replaced when it is lost."""
    import ray

    progress, resources = study.progress, study.experiment.resources
    progress.begin_baseline()
    gpus = 0 if resources.learners else resources.gpus_per_learner
    retries, before = study.experiment.search.retries, ""
    train = ray.remote(train_baseline).options(
        num_cpus=1, num_gpus=gpus, num_returns="streaming", max_retries=0, name="baseline"
    )
    while True:
        training = train.remote(study.folder.path.parent, study.experiment)
        try:
            return _followed(training, study)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, NoBetterThanRandom):
                on = command("resume", study.folder.path)
                raise NoBetterThanRandom(f"{cause}, and {on} goes on with it") from None
            if isinstance(cause, UserError):
                raise cause from None
            reason = lost(error, "the baseline's training")
            if retries == 0 or (of_code(error) and reason == before):  # it always fails so
                raise UserError(f"baseline: its training failed: {reason}") from None
            retries, before = retries - 1, reason
            progress.note(f"the baseline's training failed and begins anew: {reason}")
        except BaseException:  # the user stops it
            ray.cancel(training, force=True)
            raise


def _followed(training: Any, study: DrivenStudy) -> BaselineRecord:
    """Shows how a training comes along, and returns what it ends with."""
    import ray

    progress = study.progress

    def tell(step: BaselineProgress) -> None:
        progress.baseline_step(step)
        if step.note:
            progress.note(step.note)
        if step.done:
            progress.begin_measuring()

    record = followed((ray.get(reference) for reference in training), tell)
    for note in record.notes:
        progress.note(note)
    return record
