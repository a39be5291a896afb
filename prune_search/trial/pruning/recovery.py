"""What helps a pruned policy to recover: distillation, rewound weights or learning rates."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.plan.plan import Plan
from prune_search.records.checkpoint import MOMENTS
from prune_search.records.models import BaselineRecord
from prune_search.rllib.checkpoints.replay import empty_replay, load_replay, postpone_learning
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.schedules import TrialSchedules
from prune_search.rllib.recovery import distillation, moments, rewinding
from prune_search.rllib.running import env_steps
from prune_search.sparsity.rewinding import REWINDS, rewound
from prune_search.trial.dense_networks import dense_modules, named_weights
from prune_search.trial.pruning.pruner import Pruner
from prune_search.trial.pruning.targets import retrainings


class Recovery:
    """One trial's means of recovery.

    Args:
        algorithm: built, with its dense networks.
        experiment: the study's.
        baseline: the dense policy.
        plan: what the trial does.
        seed: of re-initialised weights and permuted masks.
        schedules: the trial's.
        fresh: `masks.adaptive_state` of an algorithm that has not learned yet.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        experiment: Experiment,
        baseline: BaselineRecord,
        plan: Plan,
        seed: int,
        schedules: TrialSchedules,
        fresh: dict[str, dict[str, float]],
    ) -> None:
        self._algorithm, self._plan, self._seed = algorithm, plan, seed
        self._experiment, self._schedules, self._untrained = experiment, schedules, fresh
        self._folder = Path(baseline.checkpoint).parent
        self._total = baseline.env_steps or baseline.checkpoint_steps
        self._retrainings = retrainings(plan)
        self._rewind = REWINDS.get(plan.rewind)
        if self._rewind and self._rewind.weights in MOMENTS:
            moments.weights(self._folder, self._rewind.weights)  # before training in vain
        if plan.distillation:
            if experiment.pruning.teacher:
                require_trust(experiment, "pruning.teacher")
            distillation.attach(
                algorithm,
                Path(experiment.pruning.teacher or baseline.checkpoint).expanduser(),
                plan.distillation,
                plan.temperature or 1.0,
            )

    def rewind(self, pruner: Pruner) -> bool:
        """After a pruning: weights, and for the control the masks, as the plan's rewinding says.

        Replay buffer, schedules and what the algorithm adapts go back to where the weights were.

        Returns:
            Whether anything is rewound; a learning rate is by `set_lr`.
        """
        if self._rewind is None or self._rewind.weights is None:
            return self._rewind is not None
        name, moment = self._rewind.name, self._rewind.weights
        generator = torch.Generator().manual_seed(self._seed)
        now, masks = learner.weights(self._algorithm), learner.masks(self._algorithm)
        kept = moment in MOMENTS
        then = moments.weights(self._folder, moment) if kept else self._fresh()
        then = {key: then[key] for key in now}  # without target networks
        weights, masks = rewound(name, now, pruner.removal.take(then), masks, generator)
        learner.set_masks(self._algorithm, masks)
        rewinding.rewind(self._algorithm, weights)
        self._rewind_training(early=moment == "early")
        return True

    def _rewind_training(self, *, early: bool) -> None:
        """All but the weights goes back to the beginning of the baseline's training, or `early`."""
        algorithm, now = self._algorithm, env_steps(self._algorithm)
        position, adaptive, buffered = 0, self._untrained, 0
        empty_replay(algorithm)
        if early:
            about = math.ceil(self._experiment.baseline.early * self._total)
            moment = moments.early(self._folder, about)
            position, adaptive = moment.env_steps, moment.adaptive
            buffered = position if load_replay(algorithm, moment.replay) else 0
        postpone_learning(algorithm, now - buffered)
        learner.load_adaptive_state(algorithm, adaptive, later=now - position)
        self._schedules.rewind(position, self._retraining(self._schedules.steps)[1])

    def _retraining(self, steps: int) -> tuple[int, int]:
        """Begin and end of the retraining that is under way after so many env steps."""
        begun = [part for part in self._retrainings if part[0] <= steps]
        return begun[-1] if begun else (steps, self._plan.env_steps)

    def set_lr(self, steps: int) -> None:
        """The learning rate after so many env steps of the trial, where it is rewound.

        Each retraining, from one step of the schedule to the next, replays the end of the
        baseline's. Before the first there is nothing to rewind.
        """
        begun = any(begin <= steps for begin, _ in self._retrainings)
        if self._rewind and self._rewind.weights is None and begun:
            begin, end = self._retraining(steps)
            # A retraining that is longer than the baseline's training replays all of it.
            self._schedules.replay_rates(begin, max(0, self._total - (end - begin)))

    def _fresh(self) -> dict[str, torch.Tensor]:
        """Weights of networks that were built anew, from a seed of the trial's."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            return named_weights(dense_modules(self._experiment))
