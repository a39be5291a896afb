"""What helps a pruned policy to recover: distillation, rewound weights or learning rates."""

from __future__ import annotations

from pathlib import Path

import torch
from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.errors import TrialError
from prune_search.experiment import Experiment
from prune_search.pruning import Plan
from prune_search.record import BaselineRecord
from prune_search.training import distillation, learner, rewinding
from prune_search.training.pruner import Pruner, retrainings
from prune_search.training.rewinding import WEIGHTS
from prune_search.training.validate import dense_modules, named_weights
from prune_search.trust import require_trust


class Recovery:
    """One trial's means of recovery.

    Args:
        algorithm: built, with its dense networks.
        experiment: the study's.
        baseline: the dense policy.
        plan: what the trial does.
        seed: of re-initialised weights and permuted masks.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        experiment: Experiment,
        baseline: BaselineRecord,
        plan: Plan,
        seed: int,
    ) -> None:
        self._algorithm, self._plan, self._seed = algorithm, plan, seed
        self._experiment = experiment
        self._folder = Path(baseline.checkpoint).parent
        rate = experiment.algorithm.training.get("lr")
        self._rates = rate if plan.rewind == "learning_rate" else None
        self._total = baseline.env_steps
        self._retrainings = retrainings(plan)
        if plan.rewind in WEIGHTS:
            self._past()  # before anything is trained in vain
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

        Returns:
            Whether anything is rewound; a learning rate is by `set_lr`.
        """
        name = self._plan.rewind
        if name in ("none", "learning_rate"):
            return name != "none"
        generator = torch.Generator().manual_seed(self._seed)
        now, masks = learner.weights(self._algorithm), learner.masks(self._algorithm)
        then = self._past() if name in WEIGHTS else self._fresh()
        then = {key: then[key] for key in now}  # without target networks
        weights, masks = rewinding.rewound(name, now, pruner.removal.take(then), masks, generator)
        learner.set_masks(self._algorithm, masks)
        rewinding.rewind(self._algorithm, weights)
        return True

    def set_lr(self, steps: int) -> None:
        """The learning rate after so many env steps of the trial, where it is rewound.

        Each retraining, from one step of the schedule to the next, replays the end of the
        baseline's. Before the first there is nothing to rewind.
        """
        if self._rates is None:
            return
        begun = [part for part in self._retrainings if part[0] <= steps]
        if begun:
            begin, end = begun[-1]
            # A retraining that is longer than the baseline's training replays all of it.
            left, done = min(end - begin, self._total), min(steps - begin, self._total)
            rate = rewinding.rewound_lr(self._rates, self._total, left, done)
            learner.set_lr(self._algorithm, rate * self._plan.lr_scale)

    def _fresh(self) -> dict[str, torch.Tensor]:
        """Weights of networks that were built anew, from a seed of the trial's."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            return named_weights(dense_modules(self._experiment))

    def _past(self) -> dict[str, torch.Tensor]:
        path = self._folder / WEIGHTS[self._plan.rewind]
        if not path.is_file():
            raise TrialError(
                f"the baseline has no {path.stem} weights to rewind to: its training ended before"
                " baseline.early of its env steps"
            )
        state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
        return state
