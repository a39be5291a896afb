"""A study's point, its weights quantized and trained on so, for as many env steps as one likes."""

from __future__ import annotations

from pathlib import Path

from prune_search.errors import TrialError, UserError, one_line
from prune_search.experiment.file import ready
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.records.baselines import BaselineFolder
from prune_search.records.folder import StudyFolder
from prune_search.rllib.running import process_settings
from prune_search.trial.baselines.dense_control import control_plan
from prune_search.trial.fine_tuning import FineTuned, fine_tune
from tuners.catalog.finding import checkpoint
from tuners.study.capacity import check_room, cluster, trial_resources
from tuners.study.cluster import connection


def fine_tuned(
    folder: StudyFolder,
    experiment: Experiment,
    point: str,
    method: str,
    bits: int,
    env_steps: int,
    to: Path,
) -> FineTuned:
    """What `fine_tune` makes of a point, trained in this process.

    Args:
        folder: the study's.
        experiment: what it does.
        point: `t03/2`, or the `baseline`.
        method: a key of `compression.METHODS`.
        bits: of a weight, 2 to 8.
        env_steps: to train for, at least.
        to: a folder that RLlib's checkpoint is written into.

    Raises:
        UserError: there is no such point, there is no room for its training, or that fails.
    """
    checkpoint(folder, point)  # names what there is
    study = folder.study()
    assert study is not None and study.baseline is not None
    if point == "control":
        raise UserError("--env-steps: the dense control is not fine-tuned; name a point")
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
            return fine_tune(
                experiment,
                study.baseline,
                plan,
                folder,
                begun,
                method,
                bits,
                env_steps,
                to,
            )
        except (TrialError, ValueError) as error:
            raise UserError(f"--env-steps: {point} is not fine-tuned: {one_line(error)}") from None
