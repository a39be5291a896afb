"""What a plan does to a network while it trains (prune, rewind, regrow, quantize), counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prune_search.errors import TrialError
from prune_search.plan.plan import Plan
from prune_search.records.models import Did, Point
from prune_search.sparsity.gate import GATED, Gate
from prune_search.trial.pruning.pruner import Pruner
from prune_search.trial.pruning.quantizer import Quantizer
from prune_search.trial.pruning.recovery import Recovery


class Dynamics:
    """A plan's dynamic parts at work on one trial.

    A lottery ticket is pruned, rewound, trained: a rewinding follows each pruning at once, wherever
    in a round the schedule's step falls.

    Args:
        plan: what the trial does.
        pruner: prunes and regrows.
        recovery: rewinds.
        gate: sets the ratio where the schedule is `gated`.
        quantizer: holds weights quantized.
    """

    def __init__(
        self, plan: Plan, pruner: Pruner, recovery: Recovery, gate: Gate, quantizer: Quantizer
    ) -> None:
        self._plan, self._pruner, self._recovery, self._gate = plan, pruner, recovery, gate
        self._quantizer = quantizer
        self._counts: Counter[str] = Counter()

    @property
    def did(self) -> Did:
        """What was done since the round began."""
        return Did(**self._counts)

    def begin(self, steps: int, points: Sequence[Point]) -> None:
        """Begins a round, by the pruning that is due at its start.

        Args:
            steps: env steps of the trial so far.
            points: of the rounds before.
        """
        self._counts.clear()
        if self._plan.schedule != GATED:
            self._prune(steps)
            return
        before = self._pruner.target(0.0)
        ratio = self._gate.next_ratio([(point.target, point.retention) for point in points])
        changed = self._pruner.to_ratio(ratio)
        after = self._pruner.target(0.0)
        if after < before:
            self._counts["gate_took_back"] += 1
        elif after == before:
            self._counts["gate_held"] += 1
        else:
            self._counts["gate_pruned"] += 1
            self._counts["prunings"] += changed

    def update(self, steps: int) -> None:
        """What is due between two training iterations, after so many env steps of the trial."""
        self._prune(steps)
        regrown = self._pruner.regrow(steps, steps / self._plan.env_steps)
        if regrown is not None:
            self._counts["regrowths_due"] += 1
            self._counts["regrowths"] += regrown.done
            self._counts["regrown"] += regrown.weights
        self._recovery.set_lr(steps)
        self._counts["quantized"] += self._quantizer.update(steps / self._plan.env_steps)

    def end(self, steps: int, points: Sequence[Point]) -> None:
        """Ends a round's training: units that are gone leave, weights are as a file holds them.

        Args:
            steps: env steps of the trial so far.
            points: of the rounds before this one.

        Raises:
            TrialError: as `check`, where the trial is through.
        """
        progress = steps / self._plan.env_steps
        self._quantizer.end_round(resized=self._pruner.shrink())
        self._counts["quantized"] += self._quantizer.update(progress)
        if progress >= 1:
            self.check(points)

    def check(self, points: Sequence[Point]) -> None:
        """That what the plan names has happened, in a trial that is through.

        Args:
            points: of the rounds before this one.

        Raises:
            TrialError: a part that never did anything, and why.
        """
        whole = Did.total([*(point.did for point in points), self.did])
        reason = missing(self._plan, whole) if whole and self._aims else None
        if reason:
            raise TrialError(f"not what its plan says: {reason}")

    @property
    def _aims(self) -> bool:
        """Whether anything is to be pruned at all: not in a control of ratio 0."""
        return self._plan.schedule == GATED or self._pruner.target(1.0) > 0

    def _prune(self, steps: int) -> None:
        if self._pruner.prune(steps / self._plan.env_steps):
            self._counts["prunings"] += 1
            self._counts["rewinds"] += self._recovery.rewind(self._pruner)


def missing(plan: Plan, did: Did) -> str | None:
    """Which part of a plan never happened in a trial that ran to its end, and why; None if all did.

    Args:
        did: over all of its rounds.
    """
    steps = f"of {plan.env_steps:,} env steps"
    if not did.prunings:
        start = f", which starts at progress {plan.start:g} {steps}," if plan.start else ""
        return (
            f"schedule {plan.schedule}{start} never pruned anything: no training iteration began"
            " when it was due, its criterion saw no batch, or what it asked for removes nothing"
        )
    if plan.rewind != "none" and not did.rewinds:
        return f"rewind {plan.rewind} never happened, in {did.prunings} prunings"
    if plan.quantization != "none" and not did.quantized:
        return f"quantization {plan.quantization} never happened"
    return None if plan.regrowth == "none" or did.regrown else _no_regrowth(plan, did)


def _no_regrowth(plan: Plan, did: Did) -> str:
    steps = f"of {plan.env_steps:,} env steps"
    if not did.regrowths_due:
        return (
            f"regrowth {plan.regrowth} was never due: between the first pruning and end (progress"
            f" {plan.end or 1.0:g} {steps}) no training iteration began after a multiple of"
            f" regrow_every, {plan.regrow_every:,} env steps"
        )
    if not did.regrowths:
        return (
            f"regrowth {plan.regrowth} was due {did.regrowths_due} times, but had seen no gradient"
        )
    return (
        f"regrowth {plan.regrowth} grew no weight in {did.regrowths} regrowths: drop_fraction"
        f" {plan.drop_fraction:g} of what its layers keep rounds to none, or the same weights"
        " came back at once"
    )
