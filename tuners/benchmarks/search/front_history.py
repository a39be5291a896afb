"""A search's front as it grew, measured on the final seeds, which the search never saw.

What a search would have delivered, had it ended at any time, is chosen on its own seeds; what that
is worth is measured on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import Curve, area, front_history, log_area
from prune_search.records.models import FinalRecord, Point, TrialRecord
from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter


def final_curves(
    folder: StudyFolder, experiment: Experiment, trials: Sequence[TrialRecord]
) -> tuple[Curve, Curve]:
    """(env steps, hypervolume on the final seeds) of the front of some trials, as it grew.

    The second one's is the log-hypervolume. Either may fall: points that were chosen on the
    search's seeds can be worth less on others.

    Args:
        folder: of a study that has ended.
        experiment: the study's.
        trials: of the study.
    """
    history = front_history(trials)
    if not history:  # no trial got to a point, so that nothing was measured
        return [], []
    needed = {point.name: point for _, points in history for point in points}
    measured = _measured(folder, experiment, needed)
    plain: Curve = []
    logarithmic: Curve = []
    for env_steps, points in history:
        axes = [
            (point.sparsity, measured.retention(measured.points[point.name].value))
            for point in points
        ]
        plain.append((env_steps, area(axes)))
        logarithmic.append((env_steps, log_area(axes, points[0].parameters)))
    return plain, logarithmic


def _measured(
    folder: StudyFolder, experiment: Experiment, needed: Mapping[str, Point]
) -> FinalRecord:
    """What points are worth on the final seeds; each is measured once, and found again."""
    path = folder.history_file
    known = FinalRecord.read(path) or folder.final()
    assert known is not None
    missing = sorted(needed.keys() - known.points.keys())
    if missing:
        meter = CheckpointMeter(experiment, folder.path.parent)
        seed, episodes = experiment.evaluation.final_seed, experiment.evaluation.final_episodes
        points = dict(known.points)
        for name in missing:
            checkpoint = folder.algorithm(needed[name])
            points[name] = meter.measure(checkpoint, seed, episodes).returned
        known = known.model_copy(update={"points": points})
        known.write(path)
    return known
