"""One trial's algorithm and all that its plan has at work on it, built, trained, measured, kept."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.errors import TrialError
from prune_search.experiment.schema import Evaluation, Experiment
from prune_search.plan.plan import Plan
from prune_search.records.checkpoint import ALGORITHM, MASKS, REPLAY
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, Point
from prune_search.records.returns import Return
from prune_search.rllib.checkpoints import saving
from prune_search.rllib.checkpoints.replay import (
    load_replay,
    postpone_learning,
    postponed,
    save_replay,
)
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.cost import PolicyCost, policy_cost
from prune_search.rllib.evaluation.evaluator import Evaluator, runner_state
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.schedules import TrialSchedules
from prune_search.rllib.networks.shapes import shrinkable
from prune_search.rllib.runners.choice import build
from prune_search.rllib.running import env_steps, reseed, settle, sync_weights, train
from prune_search.sparsity.allocation import ALLOCATIONS
from prune_search.sparsity.gate import Gate
from prune_search.sparsity.sensitivity import Curve
from prune_search.sparsity.sizes import Size
from prune_search.trial.pruning.dynamics import Dynamics
from prune_search.trial.pruning.pruner import Pruner
from prune_search.trial.pruning.quantizer import Quantizer
from prune_search.trial.pruning.recovery import Recovery
from prune_search.trial.sensitivity.scan import sensitivity_of


@dataclass(frozen=True)
class Found:
    """What a round has come to: counted from tensors, and played."""

    acting: Size
    """Of the inference networks."""
    trained: Size
    """Of all networks that are trained."""
    physical: int
    """Parameters that the inference networks have, zeros among them."""
    returned: Return
    cost: PolicyCost


class TrialAlgorithm:
    """The algorithm of one trial, with what prunes it, what helps it to recover, and its schedules.

    Args:
        experiment: the study's experiment.
        baseline: the dense policy, on this node.
        plan: what the trial does.
        seed: of the algorithm, random criteria, and whatever is drawn once a trial.
        study: its folder keeps measured sensitivities.
        checkpoint: of the round that it goes on from; None to begin.
    """

    def __init__(
        self,
        experiment: Experiment,
        baseline: BaselineRecord,
        plan: Plan,
        seed: int,
        study: StudyFolder,
        checkpoint: Path | None = None,
    ) -> None:
        self._experiment, self._baseline, self._plan = experiment, baseline, plan
        config = algorithm_config(experiment, seed, plan.lr_scale)
        if plan.structured:
            config = shrinkable(config)
        self.algorithm: Algorithm = build(config)
        fresh = learner.adaptive_state(self.algorithm)
        if plan.origin == "baseline":
            saving.load(self.algorithm, Path(baseline.checkpoint))
        self.pruner = self._pruner(seed, study)
        self.start = env_steps(self.algorithm)
        """Env steps that it counts as the trial begins: the baseline's."""
        self.schedules = self._schedules()
        self.quantizer = Quantizer(self.algorithm, plan, self.pruner.networks.values())
        self.dynamics = self._dynamics(seed, fresh)
        if checkpoint:
            self._restore(checkpoint)
        self._evaluator = Evaluator(config, experiment.evaluation)
        self.schedules.follow()
        sync_weights(self.algorithm)
        self.steps = 0
        """Env steps of the trial so far."""
        self.train_s = self.eval_s = 0.0
        """Seconds that the round has trained, and measured."""

    def _pruner(self, seed: int, study: StudyFolder) -> Pruner:
        pruning = self._experiment.pruning
        return Pruner(
            self.algorithm,
            self._plan,
            seed,
            layers=pruning.layers,
            curves=self._curves(study),
            shrink=pruning.shrink,
        )

    def _curves(self, study: StudyFolder) -> dict[str, Curve] | None:
        """Each layer's sensitivity, where the allocation asks for it."""
        plan = self._plan
        if plan.allocation is None or ALLOCATIONS.find(plan.allocation).fitted_to != "curves":
            return None
        kept = study.sensitivity_file(plan.granularity, plan.criterion)
        found = sensitivity_of(
            self._experiment, kept, self._baseline, plan.granularity, plan.criterion
        )
        return dict(found.curves)

    def _schedules(self) -> TrialSchedules:
        settings, baseline = self._experiment, self._baseline
        trained = settings.baseline.checkpoint is None
        return TrialSchedules(
            self.algorithm,
            self.start,
            own=settings.pruning.rllib_schedules == "own",
            length=settings.baseline.env_steps if trained else baseline.checkpoint_steps,
            budget=self._plan.env_steps,
        )

    def _dynamics(self, seed: int, fresh: dict[str, dict[str, float]]) -> Dynamics:
        plan, pruning = self._plan, self._experiment.pruning
        recovery = Recovery(
            self.algorithm, self._experiment, self._baseline, plan, seed, self.schedules, fresh
        )
        gate = Gate(hold=pruning.hold, floor=pruning.floor)
        return Dynamics(plan, self.pruner, recovery, gate, self.quantizer)

    def begin(self, steps: int) -> None:
        """Begins a round, after so many env steps of the trial."""
        self.steps, self.train_s, self.eval_s = steps, 0.0, 0.0
        self.schedules.follow()

    @property
    def progress(self) -> float:
        """Share of the trial's env steps that have been sampled."""
        return self.steps / self._plan.env_steps

    def look(self, end: int, seed: int) -> None:
        """Shows batches to a criterion that is to prune before the first training, and has seen
        none: of the algorithm's own sampling and loss, with the weights held where they are.

        Args:
            end: env steps of the trial at which it is given up.
            seed: of the sampling.
        """
        if not self.pruner.blind(self.progress):
            return
        reseed(self.algorithm, seed)
        with learner.frozen(self.algorithm):
            while self.pruner.blind(self.progress) and self.steps < end:
                self._iterate()

    def train(self, end: int, seed: int) -> float | None:
        """Trains, prunes and regrows until so many env steps of the trial.

        Args:
            end: env steps of the trial.
            seed: of the training.

        Returns:
            Mean return of the episodes of the last iteration, if any ended.

        Raises:
            TrialError: a loss or a reward is not finite, or no env steps were sampled.
        """
        reseed(self.algorithm, seed)
        returned = None
        while self.steps < end:
            self.dynamics.update(self.steps)
            returned = self._iterate()
        return returned

    def train_on(self, steps: int, seed: int, before: Callable[[], None] = lambda: None) -> None:
        """Trains for at least so many env steps with everything held as it is: masks, and weights
        where they are quantized. Schedules of a trial's own run once more, over these steps.

        Args:
            steps: env steps, from now on.
            seed: of the training.
            before: called before each training iteration.

        Raises:
            TrialError: as `train`.
        """
        end = self.steps + steps
        if self._experiment.pruning.rllib_schedules == "own":
            self.schedules.rewind(0, self.schedules.steps + steps)
        reseed(self.algorithm, seed)
        while self.steps < end:
            before()
            self._iterate()

    def _iterate(self) -> float | None:
        """One of RLlib's training iterations."""
        if self.algorithm.offline_data is not None:
            self.schedules.follow()  # RLlib counts no env steps there
        clock = time.monotonic()
        result = train(self.algorithm)
        self.train_s += time.monotonic() - clock
        sampled = env_steps(self.algorithm) - self.start - self.steps
        if sampled <= 0:
            raise TrialError("no env steps were sampled; its env runners are lost")
        self.steps += sampled
        returned = result.get("env_runners", {}).get("episode_return_mean")
        return float(returned) if returned is not None and math.isfinite(returned) else None

    def end(self, points: Sequence[Point]) -> Found:
        """Ends a round as `Dynamics.end` does, and measures what is left.

        Args:
            points: of the rounds before.

        Raises:
            TrialError: weights or returns are not finite, or the trial is through and a part of
                its plan never happened.
        """
        self.dynamics.end(self.steps, points)
        settle(self.algorithm)  # what is measured and what is kept is one state
        acting, trained, physical = self.pruner.sizes()
        returned = self.measure()
        if not all(map(math.isfinite, returned.each)):
            raise TrialError(f"the evaluated return is {returned.mean}")
        clock = time.monotonic()
        cost = policy_cost(self._evaluator.modules(), timed=self._experiment.search.timed)
        self.eval_s += time.monotonic() - clock
        return Found(acting, trained, physical, returned, cost)

    def measure(self) -> Return:
        """The return of the policy that it has now, on the search's evaluation seeds."""
        clock = time.monotonic()
        returned = measure(self.algorithm, self._evaluator, self._experiment.evaluation)
        self.eval_s += time.monotonic() - clock
        return returned

    def save(self, path: Path) -> None:
        """Writes all that the next round depends on into a folder that is not there yet."""
        self.algorithm.save_to_path(path / ALGORITHM)
        state = {
            **self.pruner.state_dict(),
            "quantizer": self.quantizer.state_dict(),
            "adaptive": learner.adaptive_state(self.algorithm),
            "schedules": self.schedules.state_dict(),
            "postponed": postponed(self.algorithm),
        }
        stream = io.BytesIO()
        torch.save(state, stream)
        (path / MASKS).write_bytes(stream.getvalue())  # torch hides why it can't write
        save_replay(self.algorithm, path / REPLAY)

    def _restore(self, path: Path) -> None:
        """Takes over what `save` wrote."""
        state = torch.load(path / MASKS, weights_only=True)
        self.pruner.resize(state)
        self.algorithm.restore_from_path(path / ALGORITHM)
        load_replay(self.algorithm, path / REPLAY)
        self.pruner.load_state_dict(state)
        self.quantizer.load_state_dict(state.get("quantizer"))
        learner.load_adaptive_state(self.algorithm, state["adaptive"])
        if "schedules" in state:  # not in those of earlier versions
            self.schedules.load_state_dict(state["schedules"])
            postpone_learning(self.algorithm, state["postponed"])

    def stop(self) -> None:
        """Frees its processes."""
        self.algorithm.stop()


def measure(algorithm: Algorithm, evaluator: Evaluator, evaluation: Evaluation) -> Return:
    """The return of the policy that an algorithm has now, on the search's evaluation seeds."""
    evaluator.load(learner.module_state(algorithm), runner_state(algorithm))
    return evaluator.measure(evaluation.seed, evaluation.episodes)
