"""A dense policy for cells: what trials start from, without the training of one."""

from __future__ import annotations

from pathlib import Path

from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.experiment.schema import Experiment
from prune_search.records.checkpoint import ALGORITHM
from prune_search.records.models import BaselineRecord
from prune_search.rllib.checkpoints import saving
from prune_search.rllib.evaluation.evaluator import Evaluator
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.running import env_steps


def dense(algorithm: Algorithm, experiment: Experiment, folder: Path) -> BaselineRecord:
    """The policy that an algorithm has now, saved and measured as a baseline's.

    Cells look at masks and not at returns, and a few updates make no policy that is better than
    random actions: what those are said to return lies below what the policy does.
    """
    settings = experiment.evaluation
    saving.save(algorithm, folder)
    evaluator = Evaluator(algorithm.config, settings)
    evaluator.load(learner.module_state(algorithm))
    returned = evaluator.measure(settings.seed, settings.episodes)
    worse = {name: getattr(returned, name) - 1.0 for name in ("iqm", "low", "high")}
    acting = evaluator.named_parameters().values()
    return BaselineRecord(
        key="matrix",
        checkpoint=str(folder / ALGORITHM),
        returned=returned,
        random=returned.model_copy(
            update={**worse, "each": [each - 1.0 for each in returned.each]}
        ),
        parameters=sum(parameter.numel() for parameter in acting),
        weights=sum(parameter.numel() for parameter in acting if parameter.ndim >= 2),
        env_steps=max(1, env_steps(algorithm)),
        train_s=0.0,
    )
