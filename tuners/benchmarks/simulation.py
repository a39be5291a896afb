"""Trials without policies: their rounds take no time, and all else about them is real.

For measuring what the driver costs, and nothing else: the points are made up.
"""

from __future__ import annotations

import math
import random
import time
from typing import Any

from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, Point, TrialRecord
from prune_search.records.reasons import BUDGET_USED
from prune_search.records.returns import Return
from prune_search.trial.trainable import PruningTrial

LAYERS = ("encoder.0.weight", "encoder.2.weight", "pi.weight")
BASELINE = BaselineRecord(
    key="simulated",
    checkpoint="/nowhere/checkpoint",
    returned=Return(iqm=500.0, low=490.0, high=500.0, episodes=20),
    random=Return(iqm=20.0, low=18.0, high=22.0, episodes=20),
    parameters=4_610,
    weights=4_480,
    env_steps=0,
    train_s=0.0,
)
"""A made-up dense policy, without a checkpoint."""


class SimulatedTrial(PruningTrial):
    """A trial as Tune runs it, with rounds that are made up."""

    def _begin(self, config: dict[str, Any]) -> Any:
        plan = Plan.model_validate(config["plan"])
        return SimulatedRounds(self._folder, self._baseline, config["number"], plan)


class SimulatedRounds:
    """In place of `TrialRounds`: the same records, written as often; the points from the plan."""

    def __init__(
        self, folder: StudyFolder, baseline: BaselineRecord, number: int, plan: Plan
    ) -> None:
        self._folder, self._baseline = folder, baseline
        self.record = folder.trial(number) or TrialRecord(
            number=number, plan=plan, state="running", started=time.time()
        )
        folder.write_trial(self.record)

    @property
    def done(self) -> bool:
        return self.record.ended

    def step(self) -> Point:
        if self.done:
            return self.record.points[-1]
        points = [*self.record.points, self._point(len(self.record.points))]
        over = len(points) == self.record.plan.rounds
        ending = {"state": "complete", "reason": BUDGET_USED} if over else {}
        self.record = self.record.model_copy(update={"points": points, **ending})
        self._folder.write_trial(self.record)
        return points[-1]

    def stop(self) -> None:
        pass

    def _point(self, number: int) -> Point:
        """Return falls as sparsity grows, later for some plans than for others."""
        plan, baseline = self.record.plan, self._baseline
        chance = random.Random(f"{plan.model_dump_json()} {number}")
        quality = random.Random(plan.model_dump_json()).uniform(0.98, 0.998)
        progress = (number + 1) / plan.rounds
        aim = 0.9 if plan.ratio is None else plan.ratio
        nonzero = round(baseline.parameters * (1 - aim * progress**0.5))
        sparsity = 1 - nonzero / baseline.parameters
        retention = 1 / (1 + ((1 - quality) / (1 - sparsity)) ** 3) * chance.uniform(0.95, 1)
        value = baseline.return_at(retention)
        return Point(
            trial=self.record.number,
            round=number,
            progress=progress,
            target=sparsity,
            sparsity=sparsity,
            weight_sparsity=sparsity,
            trained_sparsity=sparsity,
            parameters=baseline.parameters,
            nonzero=nonzero,
            compression=baseline.parameters / nonzero,
            layers=dict.fromkeys(LAYERS, sparsity),
            physical=baseline.parameters,
            macs=baseline.weights,
            bytes=4 * baseline.parameters,
            compact=nonzero,
            compact_nonzero=nonzero,
            returned=Return(iqm=value, low=value - 9, high=value + 9, episodes=20),
            return_pruned=value / 2,
            return_training=value,
            retention=retention,
            env_steps=math.ceil(plan.env_steps * progress),
            train_s=0.0,
            eval_s=0.0,
            time=time.time(),
            checkpoint=self._folder.checkpoint(self.record.number, number)
            .relative_to(self._folder.path)
            .as_posix(),
        )
