"""One trial: prune, train, evaluate, and again, until the plan or the policy is at its end.

A trial is a budget of env steps. Its plan's schedule maps progress (env steps used / budget) to
a ratio; masks are updated between RLlib's training iterations whenever that ratio has grown, and
a round ends, with an evaluation and a checkpoint, at every 1/rounds of the budget. One-shot
pruning, gradual pruning during training and prune-and-fine-tune rounds are this one loop under
different schedules.

What a round does depends on the checkpoint before it and on its seed alone. A trial that was
killed goes on from its last finished round and measures what it would have measured.
"""

from __future__ import annotations

import io
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm

from prune_search.errors import TrialError
from prune_search.experiment.schema import Evaluation, Experiment
from prune_search.plan.plan import Plan
from prune_search.records.baselines import BaselineFolder
from prune_search.records.checkpoint import ALGORITHM, MASKS, REPLAY
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, Point, TrialRecord
from prune_search.records.policy_files import stored_bytes
from prune_search.records.reasons import BUDGET_USED, below_floor
from prune_search.records.returns import Return
from prune_search.rllib import checkpoint_files as saving
from prune_search.rllib import masks as learner
from prune_search.rllib.algorithms import algorithm_config
from prune_search.rllib.evaluation.cost import policy_cost
from prune_search.rllib.evaluation.evaluator import Evaluator, runner_state
from prune_search.rllib.replay import (
    load_replay,
    postpone_learning,
    postponed,
    save_replay,
)
from prune_search.rllib.runners.choice import build
from prune_search.rllib.running import TRAINING_SEEDS, env_steps, reseed, settle, sync_weights
from prune_search.rllib.schedules import TrialSchedules
from prune_search.rllib.shapes import shrinkable
from prune_search.sparsity.allocation import ALLOCATIONS
from prune_search.sparsity.gate import GATED, Gate
from prune_search.sparsity.sensitivity import Curve
from prune_search.storage.full_disk import mark
from prune_search.trial.dynamics import Dynamics
from prune_search.trial.pruner import Pruner
from prune_search.trial.recovery import Recovery
from prune_search.trial.sensitivity_scan import sensitivity_of


class TrialRounds:
    """The rounds of one trial, from the last that is finished on.

    Args:
        experiment: the study's experiment.
        folder: the study's folder, where points and checkpoints go.
        baseline: the dense policy.
        number: the trial's number.
        plan: what the trial does.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: StudyFolder,
        baseline: BaselineRecord,
        number: int,
        plan: Plan,
    ) -> None:
        self._experiment, self._folder, self._baseline = experiment, folder, baseline
        self.record = folder.trial(number) or TrialRecord(
            number=number, plan=plan, state="running", started=time.time()
        )
        self._plan = self.record.plan
        self._algorithm: Algorithm | None = None
        if self.record.ended:
            return
        self._write(state="running", reason="")
        BaselineFolder.of(baseline, folder.mirror).bring()
        seed = self._seed(0)
        config = algorithm_config(experiment, seed, self._plan.lr_scale)
        if self._plan.structured:
            config = shrinkable(config)
        self._algorithm = build(config)
        fresh = learner.adaptive_state(self._algorithm)
        if self._plan.origin == "baseline":
            saving.load(self._algorithm, Path(baseline.checkpoint))
        self._pruner = Pruner(
            self._algorithm,
            self._plan,
            seed,
            layers=experiment.pruning.layers,
            curves=self._curves(),
            shrink=experiment.pruning.shrink,
        )
        self._start = env_steps(self._algorithm)
        trained = experiment.baseline.checkpoint is None
        self._schedules = TrialSchedules(
            self._algorithm,
            self._start,
            own=experiment.pruning.rllib_schedules == "own",
            length=experiment.baseline.env_steps if trained else baseline.checkpoint_steps,
            budget=self._plan.env_steps,
        )
        recovery = Recovery(
            self._algorithm, experiment, baseline, self._plan, seed, self._schedules, fresh
        )
        pruning = experiment.pruning
        gate = Gate(hold=pruning.hold, floor=pruning.floor)
        self._dynamics = Dynamics(self._plan, self._pruner, recovery, gate)
        if self.record.points:
            self._restore(folder.bring_checkpoint(self.record.points[-1]))
        self._evaluator = Evaluator(config, experiment.evaluation)
        self._schedules.follow()
        sync_weights(self._algorithm)

    @property
    def done(self) -> bool:
        """Whether the trial has ended."""
        return self.record.ended

    def step(self) -> Point:
        """Runs one round: its point, which is on disk, with its checkpoint, when this returns.

        Raises:
            TrialError: weights or returns are not finite, no env steps were sampled, or the trial
                is through and a part of its plan never happened.
        """
        if self._algorithm is None:
            return self.record.points[-1]
        plan, pruner, algorithm = self._plan, self._pruner, self._algorithm
        number, begin = len(self.record.points), self.record.env_steps
        self._steps, self._train_s = begin, 0.0
        seed = self._seed(number)
        end = math.ceil(plan.env_steps * (number + 1) / plan.rounds)
        self._schedules.follow()
        self._look(end)
        self._dynamics.begin(begin, self.record.points)
        clock = time.monotonic()
        pruned = self._measure()
        eval_s = time.monotonic() - clock

        reseed(algorithm, seed)
        training_return = None
        while self._steps < end:
            self._dynamics.update(self._steps)
            training_return = self._train()
        if self._progress >= 1:
            self._dynamics.check(self.record.points)

        pruner.shrink()
        settle(algorithm)
        acting, trained, physical = pruner.sizes()
        clock = time.monotonic()
        returned = self._measure()
        cost = policy_cost(self._evaluator.modules(), timed=self._experiment.search.timed)
        eval_s += time.monotonic() - clock
        if not all(map(math.isfinite, returned.each)):
            raise TrialError(f"the evaluated return is {returned.mean}")
        checkpoint = self._folder.write_checkpoint(
            self.record.number, number, self._save, self._waits
        )
        point = Point(
            trial=self.record.number,
            round=number,
            progress=self._progress,
            target=pruner.target(self._progress),
            sparsity=acting.sparsity,
            weight_sparsity=acting.weight_sparsity,
            trained_sparsity=trained.sparsity,
            parameters=acting.parameters,
            nonzero=acting.nonzero,
            compression=acting.compression,
            layers=acting.layers,
            physical=physical,
            macs=cost.macs,
            bytes=cost.bytes,
            latency_us=cost.latency_us,
            compact=cost.compact,
            compact_nonzero=cost.compact_nonzero,
            stored_bytes=stored_bytes(checkpoint / ALGORITHM),
            compact_bytes=cost.compact_bytes,
            cost_missing=cost.missing,
            returned=returned,
            return_pruned=pruned.value,
            return_training=training_return,
            retention=self._baseline.retention(returned.value),
            env_steps=self._steps,
            train_s=self._train_s,
            eval_s=eval_s,
            time=time.time(),
            checkpoint=checkpoint.relative_to(self._folder.path).as_posix(),
            did=self._dynamics.did,
        )
        points = [*self.record.points, point]
        reason = self._end(points)
        self._write(points=points, state="complete" if reason else "running", reason=reason)
        if number:  # only the round that a trial goes on from needs its replay buffer
            before = self._folder.path / self.record.points[number - 1].checkpoint
            (before / REPLAY).unlink(missing_ok=True)
        return point

    def _curves(self) -> dict[str, Curve] | None:
        """Each layer's sensitivity, where the allocation asks for it."""
        plan = self._plan
        if plan.allocation is None or ALLOCATIONS.find(plan.allocation).fitted_to != "curves":
            return None
        found = sensitivity_of(
            self._experiment, self._folder.path, self._baseline, plan.granularity, plan.criterion
        )
        return dict(found.curves)

    def _look(self, end: int) -> None:
        """Shows batches to a criterion that is to prune before the first training, and has seen
        none: of the algorithm's own sampling and loss, with the weights held where they are."""
        assert self._algorithm is not None
        if not self._pruner.blind(self._progress):
            return
        reseed(self._algorithm, (self._seed(len(self.record.points)) + 1) % TRAINING_SEEDS)
        with learner.frozen(self._algorithm):
            while self._pruner.blind(self._progress) and self._steps < end:
                self._train()

    @property
    def _progress(self) -> float:
        return self._steps / self._plan.env_steps

    def _train(self) -> float | None:
        """One of RLlib's training iterations: the mean return of its episodes, if any ended."""
        assert self._algorithm is not None
        if self._algorithm.offline_data is not None:
            self._schedules.follow()  # RLlib counts no env steps there
        clock = time.monotonic()
        result = self._algorithm.train()
        self._train_s += time.monotonic() - clock
        for name, figures in result.get("learners", {}).items():
            # RLlib sets gradients that are not finite to zero, and goes on. Without updates in an
            # iteration its mean of losses is no number either.
            updated = figures.get("num_module_steps_trained", 0) > 0
            if updated and math.isnan(figures.get("total_loss", 0.0)):
                raise TrialError(
                    f"the loss of {name} is not finite: the training has diverged, or the"
                    " environment returned what is not finite"
                )
        sampled = env_steps(self._algorithm) - self._start - self._steps
        if sampled <= 0:
            raise TrialError("no env steps were sampled; its env runners are lost")
        self._steps += sampled
        return _finite(result.get("env_runners", {}).get("episode_return_mean"))

    def stop(self) -> None:
        """Frees the algorithm's processes."""
        if self._algorithm is not None:
            self._algorithm.stop()
            self._algorithm = None

    def _end(self, points: list[Point]) -> str:
        """Why the trial ends after these points; empty while it goes on."""
        pruning = self._experiment.pruning
        if points[-1].progress >= 1:
            return BUDGET_USED
        if self._plan.schedule == GATED:
            return ""  # the gate takes back what was too much
        last = points[-pruning.patience :]
        learned = self._plan.origin == "baseline" or any(
            p.retention >= pruning.floor for p in points[: -pruning.patience]
        )
        if (
            learned  # a policy that has yet to learn the task has not collapsed
            and len(last) == pruning.patience
            and all(p.retention < pruning.floor for p in last)
        ):
            return below_floor(pruning.floor, len(last))
        return ""

    def _measure(self) -> Return:
        assert self._algorithm is not None
        return measure(self._algorithm, self._evaluator, self._experiment.evaluation)

    def _seed(self, number: int) -> int:
        """Seed of a round, below those of evaluations."""
        entropy = [self._experiment.search.seed, self.record.number, number]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0]) % TRAINING_SEEDS

    def _write(self, **changes: Any) -> None:
        record = self.record.model_copy(update=changes)
        self._folder.write_trial(record, self._waits)
        self.record = record

    def _waits(self, found: str) -> None:
        mark(self._folder.trial_path(self.record.number), found)

    def _save(self, path: Path) -> None:
        """All that the next round depends on."""
        assert self._algorithm is not None
        self._algorithm.save_to_path(path / ALGORITHM)
        state = {
            **self._pruner.state_dict(),
            "adaptive": learner.adaptive_state(self._algorithm),
            "schedules": self._schedules.state_dict(),
            "postponed": postponed(self._algorithm),
        }
        with (path / MASKS).open("wb") as stream:  # torch hides why it can't write
            stream.write(_serialised(state))
        save_replay(self._algorithm, path / REPLAY)

    def _restore(self, path: Path) -> None:
        assert self._algorithm is not None
        state = torch.load(path / MASKS, weights_only=True)
        self._pruner.resize(state)
        self._algorithm.restore_from_path(path / ALGORITHM)
        load_replay(self._algorithm, path / REPLAY)
        self._pruner.load_state_dict(state)
        learner.load_adaptive_state(self._algorithm, state["adaptive"])
        if "schedules" in state:  # not in those of earlier versions
            self._schedules.load_state_dict(state["schedules"])
            postpone_learning(self._algorithm, state["postponed"])


def measure(algorithm: Algorithm, evaluator: Evaluator, evaluation: Evaluation) -> Return:
    """The return of the policy that an algorithm has now, on the search's evaluation seeds."""
    evaluator.load(learner.module_state(algorithm), runner_state(algorithm))
    return evaluator.measure(evaluation.seed, evaluation.episodes)


def _serialised(state: dict[str, Any]) -> bytes:
    """What torch.save writes."""
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
