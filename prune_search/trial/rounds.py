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

import math
import time
from pathlib import Path
from typing import Any

from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.baselines import BaselineFolder
from prune_search.records.checkpoint import ALGORITHM, REPLAY
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, Point, TrialRecord
from prune_search.records.policy_files import stored_bytes
from prune_search.records.reasons import BUDGET_USED, below_floor
from prune_search.rllib.running import TRAINING_SEEDS, training_seed
from prune_search.sparsity.gate import GATED
from prune_search.trial.algorithm import Found, TrialAlgorithm


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
        chosen_by: str = "",
    ) -> None:
        self._experiment, self._folder, self._baseline = experiment, folder, baseline
        self.record = folder.trial(number) or TrialRecord(
            number=number, plan=plan, state="running", chosen_by=chosen_by, started=time.time()
        )
        self.trained: TrialAlgorithm | None = None
        """None in a trial that has ended."""
        if not self.record.ended:
            self._write(state="running", reason="")
            self.trained = self._built()

    def _built(self) -> TrialAlgorithm:
        """The algorithm as the last round left it, or as the trial begins."""
        BaselineFolder.of(self._baseline, self._folder.mirror).bring()
        points = self.record.points
        return TrialAlgorithm(
            self._experiment,
            self._baseline,
            self.record.plan,
            self._seed(0),
            self._folder,
            self._folder.bring_checkpoint(points[-1]) if points else None,
        )

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
        before = self.record.points
        if self.trained is None:
            return before[-1]
        plan, number, trained = self.record.plan, len(before), self.trained
        end, seed = math.ceil(plan.env_steps * (number + 1) / plan.rounds), self._seed(number)
        trained.begin(self.record.env_steps)
        trained.look(end, (seed + 1) % TRAINING_SEEDS)
        trained.dynamics.begin(trained.steps, before)
        pruned = trained.measure()
        training_return = trained.train(end, seed)
        found = trained.end(before)
        checkpoint = self._folder.write_checkpoint(
            self.record.number, number, trained.save, self._waits
        )
        point = self._point(trained, found, pruned.value, training_return, checkpoint)
        self._keep([*before, point])
        return point

    def _point(
        self,
        trained: TrialAlgorithm,
        found: Found,
        return_pruned: float,
        return_training: float | None,
        checkpoint: Path,
    ) -> Point:
        """What the round has found; every figure is counted or measured, none is asked for."""
        acting, cost = found.acting, found.cost
        packed_bytes, why = trained.quantizer.packed_bytes(checkpoint / ALGORITHM)
        return Point(
            trial=self.record.number,
            round=len(self.record.points),
            progress=trained.progress,
            target=trained.pruner.target(trained.progress),
            sparsity=acting.sparsity,
            weight_sparsity=acting.weight_sparsity,
            trained_sparsity=found.trained.sparsity,
            parameters=acting.parameters,
            nonzero=acting.nonzero,
            compression=acting.compression,
            layers=acting.layers,
            physical=found.physical,
            macs=cost.macs,
            bytes=cost.bytes,
            latency_us=cost.latency_us,
            compact=cost.compact,
            compact_nonzero=cost.compact_nonzero,
            stored_bytes=stored_bytes(checkpoint / ALGORITHM),
            compact_bytes=cost.compact_bytes,
            packed_bytes=packed_bytes,
            cost_missing={**cost.missing, **({"packed_bytes": why} if why else {})},
            returned=found.returned,
            return_pruned=return_pruned,
            return_training=return_training,
            retention=self._baseline.retention(found.returned.value),
            env_steps=trained.steps,
            train_s=trained.train_s,
            eval_s=trained.eval_s,
            time=time.time(),
            checkpoint=checkpoint.relative_to(self._folder.path).as_posix(),
            did=trained.dynamics.did,
        )

    def _keep(self, points: list[Point]) -> None:
        """Writes the points, and whether they end the trial."""
        record = self.record.model_copy(update={"points": points})
        reason = why_over(record, self._experiment.pruning)
        self._write(points=points, state="complete" if reason else "running", reason=reason)
        if len(points) > 1:  # only the round that a trial goes on from needs its replay buffer
            before = self._folder.path / points[-2].checkpoint
            (before / REPLAY).unlink(missing_ok=True)

    def stop(self) -> None:
        """Frees the algorithm's processes."""
        if self.trained is not None:
            self.trained.stop()
            self.trained = None

    def _seed(self, number: int) -> int:
        """Seed of a round."""
        return training_seed(self._experiment.search.seed, self.record.number, number)

    def _write(self, **changes: Any) -> None:
        record = self.record.model_copy(update=changes)
        self._folder.write_trial(record, self._waits)
        self.record = record

    def _waits(self, found: str) -> None:
        self._folder.mark_waiting(self.record.number, found)


def why_over(trial: TrialRecord, pruning: Pruning) -> str:
    """Why a trial ends after its last point; empty while it goes on.

    Args:
        trial: with all rounds so far, at least one. Where it was given up and has gone on since,
            patience begins anew.
        pruning: `floor` and `patience` count.
    """
    points, plan = trial.points, trial.plan
    if points[-1].progress >= 1:
        return BUDGET_USED
    if plan.schedule == GATED:
        return ""  # the gate takes back what was too much
    since = trial.thawed[-1] if trial.thawed else 0
    last = points[since:][-pruning.patience :]
    learned = plan.origin == "baseline" or any(
        p.retention >= pruning.floor for p in points[: -pruning.patience]
    )
    if (
        learned  # a policy that has yet to learn the task has not collapsed
        and len(last) == pruning.patience
        and all(p.retention < pruning.floor for p in last)
    ):
        return below_floor(pruning.floor, len(last))
    return ""
