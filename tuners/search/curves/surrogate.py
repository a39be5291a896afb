"""Predicted curves: how sparse each round of a plan is, and what is kept there, with doubt.

An ensemble of extremely randomised trees (Geurts, Ernst & Wehenkel 2006), each grown on trials
drawn with replacement (Breiman 1996), as random forests have been used to configure algorithms
(Hutter, Hoos & Leyton-Brown 2011, SMAC). Whole trials are drawn, not rounds, since rounds of one
trial resemble each other; of many, fewer than there are (Bickel, Götze & van Zwet 1997), so that a
member takes the same time in any study. So a member of the ensemble is one possible world, in which
plans have whole curves; where members differ, little is known. Retention falls with sparsity.

To each member's trials come some of other tasks', other ones for each, so that a study knows
something before its first trial. They are marked, and of a fixed number: the more trials a study
has of its own, the less they count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import ExtraTreeRegressor

from prune_search.plan.plan import Plan
from tuners.search.curves.features import Encoding, log_density

MEMBERS = 24
DRAWN = 64
"""Trials of the study that each member is grown on, at most."""
_NOISE = 0.05
"""Of a retention, beside what its episodes tell: another training would have ended elsewhere."""
BORROWED = 16
"""Trials of other tasks that each member is grown on."""


_TREES = np.float32
"""What scikit-learn's trees compute with: given that, they need not look at it and copy it."""


@dataclass(frozen=True)
class Measured:
    """A round that was measured."""

    progress: float
    sparsity: float
    retention: float
    error: float
    """Standard error of the retention, from its episodes."""


@dataclass(frozen=True)
class Experience:
    """A trial's plan, and its rounds so far."""

    plan: Plan
    rounds: Sequence[Measured]
    unit: float = 1.0
    """Env steps of its task's baseline, in which the plan's are counted."""


@dataclass(frozen=True)
class Curves:
    """Predictions of each member for each plan and round.

    Attributes:
        sparsity: [members, plans, rounds], in [0, 1), rising over the rounds.
        retention: of the same shape, 0 to 1.
        there: [plans, rounds], False where a plan has fewer rounds; or of each member,
            [members, plans, rounds], where trials may be given up.
    """

    sparsity: NDArray[np.float64]
    retention: NDArray[np.float64]
    there: NDArray[np.bool_]


class Surrogate:
    """Learns from trials, and predicts others.

    Args:
        known: the study's trials with a round each, or more.
        plans: that will be asked about.
        seed: of the ensemble.
        borrowed: trials of other tasks; there must be some where none is known.
        unit: env steps of the study's baseline.
    """

    def __init__(
        self,
        known: Sequence[Experience],
        plans: Sequence[Plan],
        seed: int,
        borrowed: Sequence[Experience] = (),
        unit: float = 1.0,
    ) -> None:
        every = [*known, *borrowed]
        self._unit, self._marked = unit, len(borrowed) > 0
        self._encoding = Encoding([*(one.plan for one in every), *plans])
        features, asked = self._encoding.every(
            (one.plan, [r.progress for r in one.rounds], one.unit) for one in every
        )
        rounds = [each for one in every for each in one.rounds]
        density = np.array([log_density(each.sparsity) for each in rounds])
        kept = np.array([min(max(each.retention, 0.0), 1.0) for each in rounds])
        trust = np.array([_NOISE**2 / (_NOISE**2 + each.error**2) for each in rounds])
        of = np.repeat(np.arange(len(every)), [len(one.rounds) for one in every])
        generator = np.random.default_rng(seed)
        if self._marked:
            features = np.column_stack([features, of < len(known)])
        rising = [0] * features.shape[1] + [1]
        features = np.ascontiguousarray(features, _TREES)
        both = np.column_stack([features, density.astype(_TREES)])
        self._members = []
        for _ in range(MEMBERS):
            drawn = _drawn(len(known), len(borrowed), generator)
            weights = np.bincount(drawn, minlength=len(every))[of] * trust
            taken = weights > 0
            seeds = [int(one) for one in generator.integers(2**31, size=2)]
            first = _grown(seeds[0], features[taken], (density - asked)[taken], weights[taken])
            second = _grown(seeds[1], both[taken], kept[taken], weights[taken], rising)
            self._members.append((first, second))

    def predict(self, plans: Sequence[Plan]) -> Curves:
        """Whole curves of plans that were named to the surrogate."""
        longest = max(plan.rounds for plan in plans)
        there = np.array([np.arange(longest) < plan.rounds for plan in plans])
        # A plan of fewer rounds repeats its last.
        steps = np.arange(1, longest + 1)
        features, asked = self._encoding.every(
            (plan, list(steps.clip(max=plan.rounds) / plan.rounds), self._unit) for plan in plans
        )
        if self._marked:
            features = np.column_stack([features, np.ones(len(features))])
        features = np.ascontiguousarray(features, _TREES)
        sparsity, retention = [], []
        for first, second in self._members:
            density = np.minimum(asked + first.predict(features, check_input=False), 0.0).reshape(
                there.shape
            )
            density = np.minimum.accumulate(density, axis=1)  # nothing grows back between rounds
            both = np.column_stack([features, density.reshape(-1).astype(_TREES)])
            sparsity.append(1.0 - np.exp(density))
            retention.append(second.predict(both, check_input=False).reshape(there.shape))
        return Curves(np.array(sparsity), np.array(retention), there)


def _drawn(known: int, borrowed: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """What a member is grown on: the study's trials with replacement, and some of the others."""
    own = generator.integers(known, size=min(known, DRAWN)) if known else np.empty(0, np.int64)
    others = generator.choice(borrowed, min(BORROWED, borrowed), replace=False)
    return np.concatenate([own, known + others])


def _grown(
    seed: int,
    features: NDArray[np.float32],
    target: NDArray[np.float64],
    weights: NDArray[np.float64],
    rising: Sequence[int] | None = None,
) -> ExtraTreeRegressor:
    tree = ExtraTreeRegressor(max_features=0.5, monotonic_cst=rising, random_state=seed)
    return tree.fit(features, target, weights, check_input=False)
