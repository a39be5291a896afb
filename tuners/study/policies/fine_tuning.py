"""A study's point, trained on for what becomes of it: quantized weights, or levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prune_search.errors import TrialError, UserError, one_line
from prune_search.experiment.file import ready
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.records.baselines import BaselineFolder
from prune_search.records.folder import StudyFolder
from prune_search.rllib.running import process_settings
from prune_search.trial.baselines.dense_control import control_plan
from prune_search.trial.fine_tuning import Start
from tuners.catalog.finding import checkpoint
from tuners.study.capacity import check_room, cluster, trial_resources
from tuners.study.cluster import connection

T = TypeVar("T")


def trained_on(
    folder: StudyFolder, experiment: Experiment, point: str, train: Callable[[Start], T]
) -> T:
    """What a training makes of a point, in this process.

    Args:
        folder: the study's.
        experiment: what it does.
        point: `t03/2`, or the `baseline`.
        train: goes on from where the point's round ended.

    Raises:
        UserError: there is no such point, there is no room for its training, or that fails.
    """
    checkpoint(folder, point)  # names what there is
    study = folder.study()
    assert study is not None and study.baseline is not None
    if point == "control":
        raise UserError("--env-steps: the dense control is not trained on; name a point")
    ready(experiment)
    require_trust(experiment)
    process_settings(experiment.resources.threads)
    plan, begun = control_plan(experiment.pruning), None
    if point != "baseline":
        found = folder.points()[point]
        trial = folder.trial(found.trial)
        assert trial is not None
        plan, begun = trial.plan, folder.bring_checkpoint(found)
    with connection(experiment.resources):
        check_room([{}, *trial_resources(experiment).bundles[1:]], experiment.resources, cluster())
        BaselineFolder.of(study.baseline, folder.mirror).bring()
        try:
            return train(Start(experiment, study.baseline, plan, folder, begun))
        except (TrialError, ValueError) as error:
            raise UserError(f"--env-steps: {point} is not trained on: {one_line(error)}") from None
