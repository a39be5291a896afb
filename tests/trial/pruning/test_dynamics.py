"""Dynamic parts of plans happen as often as formulas say, wherever in a round, and are counted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME as LIFETIME
from torch import Tensor

from prune_search.errors import TrialError, UserError
from prune_search.plan.plan import Plan
from prune_search.records.folder import StudyFolder
from prune_search.records.models import Did
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.parameters import optimizers
from prune_search.rllib.learners.schedules import TrialSchedules
from prune_search.rllib.recovery import rewinding
from prune_search.rllib.running import each_learner, env_steps, unwrapped
from prune_search.sparsity.gate import Gate
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.preflight import check_baseline
from prune_search.trial.pruning.dynamics import Dynamics, missing
from prune_search.trial.pruning.pruner import Pruner
from prune_search.trial.pruning.quantizer import Quantizer
from prune_search.trial.pruning.recovery import Recovery
from prune_search.trial.pruning.targets import retrainings
from prune_search.trial.rounds import TrialRounds
from tests.plans import plan

STEPS, EACH, ROUNDS = 3000, 100, 3
OTHERS = ("linear", "cosine")  # of cubic's kind
SCHEDULES = ("one_shot", "cubic", "geometric", *OTHERS)
STARTS = (0.0, 0.25)  # at a round's boundary, and off it
LR = [[0, 0.01], [8000, 0.001]]

REGROWING = [
    plan(
        schedule=schedule, start=start, end=0.75, regrowth=regrowth, criterion=criterion,
        regrow_every=170, drop_fraction=0.3, origin="scratch", rounds=ROUNDS, env_steps=STEPS,
    )
    for schedule, start, regrowth in product(SCHEDULES, STARTS, ("set", "rigl"))
    for criterion in ("magnitude", "movement" if start else "saliency")
]  # fmt: skip
REWOUND = [
    plan(
        schedule=schedule, start=start, end=0.75, rewind=rewind, criterion=criterion,
        rounds=ROUNDS, env_steps=STEPS,
    )
    for schedule, start in product(("one_shot", "geometric"), STARTS)
    for rewind, criterion in (
        ("initial", "magnitude"), ("early", "fisher"), ("random", "magnitude"),
        ("permuted", "saliency"), ("learning_rate", "magnitude"),
    )
]  # fmt: skip


def name(chosen: Plan) -> str:
    parts = (chosen.schedule, f"{chosen.start:g}", chosen.criterion, chosen.regrowth, chosen.rewind)
    return "-".join(part for part in parts if part != "none")


class World:
    """An algorithm whose learner takes steps along made-up gradients, a hundred env steps each
    iteration: all that prunes, rewinds and regrows is real, and nothing is sampled."""

    def __init__(self, experiment: Any, baseline: Any) -> None:
        self.experiment, self.baseline = experiment, baseline
        self.algorithm = algorithm_config(experiment, seed=1).build_algo()
        self.begun = learner.weights(self.algorithm)
        self.fresh = learner.adaptive_state(self.algorithm)
        self.start = 0
        self.rates: list[float] = []

    def train(self, steps: int, counted: int = EACH) -> None:
        def run(held: Any) -> None:
            (optimizer,) = optimizers(held)
            self.rates.append(float(optimizer.param_groups[0]["lr"]))
            gradients = {}
            for key, parameter in sorted(unwrapped(held).named_parameters()):
                generator = torch.Generator().manual_seed(1000 * steps + len(key))
                drawn = torch.randn(parameter.shape, generator=generator)
                gradients[held.get_param_ref(parameter)] = drawn
            held.apply_gradients(held.postprocess_gradients(gradients))
            held.after_gradient_based_update(timesteps={LIFETIME: now + counted})

        now = env_steps(self.algorithm)
        key = (ENV_RUNNER_RESULTS, LIFETIME)
        self.algorithm.metrics.log_value(key, counted, reduce="lifetime_sum")
        each_learner(self.algorithm, run)

    def made(self, chosen: Plan) -> tuple[Pruner, Dynamics, TrialSchedules]:
        pruner = Pruner(self.algorithm, chosen, seed=0)
        length, start = self.experiment.baseline.env_steps, self.start
        schedules = TrialSchedules(self.algorithm, start, own=True, length=length, budget=STEPS)
        recovery = Recovery(
            self.algorithm, self.experiment, self.baseline, chosen, 0, schedules, self.fresh
        )
        gate = Gate(hold=0.9, floor=0.5)
        quantizer = Quantizer(self.algorithm, chosen, pruner.networks.values())
        return pruner, Dynamics(chosen, pruner, recovery, gate, quantizer), schedules

    def check_rewound(self, moment: str) -> None:
        """That what is kept is the baseline's of then, and the rest zero."""
        path = Path(self.baseline.checkpoint).with_name(f"{moment}.pt")
        then = torch.load(path, weights_only=True)
        masks = learner.masks(self.algorithm)
        for key, value in learner.weights(self.algorithm).items():
            assert torch.equal(value, then[key] * masks.get(key, torch.ones(())))

    def run(self, chosen: Plan, resumed: bool) -> tuple[list[Did], dict[str, Tensor]]:
        """A trial: what each round did, and the weights at its end.

        Args:
            resumed: with nothing but its state kept between rounds.
        """
        learner.attach(self.algorithm)
        rewinding.rewind(self.algorithm, self.begun)
        self.rates.clear()
        self.start = env_steps(self.algorithm)
        pruner, dynamics, schedules = self.made(chosen)
        schedules.follow()
        if pruner.blind(0.0):
            with learner.frozen(self.algorithm):
                self.train(10**6, counted=0)
        did: list[Did] = []
        for begin in range(0, STEPS, STEPS // ROUNDS):
            if resumed and begin:
                state, clock = pruner.state_dict(), schedules.state_dict()
                pruner, dynamics, schedules = self.made(chosen)
                pruner.load_state_dict(state)
                schedules.load_state_dict(clock)
                schedules.follow()
            dynamics.begin(begin, [])
            for steps in range(begin, begin + STEPS // ROUNDS, EACH):
                rewinds = dynamics.did.rewinds
                dynamics.update(steps)
                if dynamics.did.rewinds > rewinds and chosen.rewind in ("initial", "early"):
                    self.check_rewound(chosen.rewind)
                self.train(steps)
            did.append(dynamics.did)
        return did, learner.weights(self.algorithm)


@pytest.fixture(scope="module")
def world(tiny: Any, baseline: Any) -> Iterator[World]:
    found = World(tiny(f"algorithm.training.lr={LR}"), baseline)
    yield found
    found.algorithm.stop()


HEADS = range(0, STEPS, EACH)


def due(chosen: Plan) -> list[int]:
    """By formula: iterations before which a schedule asks for more, by the env steps before."""
    assert chosen.start is not None
    last = 1.0 if chosen.end is None else chosen.end  # where all goes at once
    begin, end = chosen.start * STEPS, last * STEPS
    if chosen.schedule in ("one_shot", "geometric"):
        count = round((last - chosen.start) * ROUNDS) if chosen.schedule != "one_shot" else 1
        steps = (begin + step * STEPS / ROUNDS for step in range(count))
        return [math.ceil(step / EACH) * EACH for step in steps]
    return [head for head in HEADS if begin < head < end + EACH]


@pytest.mark.parametrize(
    "chosen",
    [
        pytest.param(each, marks=pytest.mark.slow if each.schedule in OTHERS else ())
        for each in (*REGROWING, *REWOUND)
    ],
    ids=name,
)
def test_what_is_due_is_done_and_counted(world: World, chosen: Plan) -> None:
    did, weights = world.run(chosen, resumed=False)
    rates = list(world.rates)
    whole = Did.total(did)
    assert whole is not None and missing(chosen, whole) is None
    pruned = due(chosen)
    flat = 2 if chosen.schedule in ("cubic", "cosine") else 0  # where less than a weight is due
    assert len(pruned) - flat <= whole.prunings <= len(pruned)
    if chosen.rewind != "none":
        assert whole.rewinds == whole.prunings
    else:
        assert chosen.end is not None
        regrown = sum(
            head // 170 > (head - EACH) // 170
            for head in HEADS
            if head and pruned[0] <= head < chosen.end * STEPS
        )
        assert whole.regrowths_due == whole.regrowths == regrown > 5
        assert whole.regrown >= regrown
    again, same = world.run(chosen, resumed=True)
    assert again == did and world.rates == rates
    assert all(torch.equal(weights[key], same[key]) for key in weights)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("schedule", ["one_shot", "geometric"])
def test_learning_rates_are_replayed_from_each_pruning_on(
    world: World, schedule: str, start: float
) -> None:
    """Renda et al. 2020: each retraining goes through the end of the baseline's schedule."""
    chosen = plan(
        schedule=schedule, start=start, end=0.75, rewind="learning_rate", rounds=ROUNDS,
        env_steps=STEPS,
    )  # fmt: skip
    world.run(chosen, resumed=False)
    marks = [round(start * STEPS)]
    if schedule == "geometric":
        steps = round((0.75 - start) * ROUNDS)
        marks = [round((start + step / ROUNDS) * STEPS) for step in range(steps)]
    assert [begin for begin, _ in retrainings(chosen)] == marks
    for head, rate in zip(HEADS, world.rates, strict=True):
        begun = [mark for mark in marks if mark <= head]
        if not begun:
            at = world.experiment.baseline.env_steps / STEPS * head  # the trial's own until then
            assert rate == pytest.approx(0.01 - 0.009 * at / 8000, rel=1e-4)
            continue
        end = next((mark for mark in marks if mark > head), STEPS)
        at = world.baseline.env_steps - (end - begun[-1]) + (head - begun[-1])
        assert rate == pytest.approx(0.01 - 0.009 * at / 8000, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "did", "message"),
    [
        ({}, {}, "schedule geometric never pruned anything"),
        ({"start": 0.9, "end": 1.0}, {}, "starts at progress 0.9 of 3,000 env steps, never pruned"),
        ({"rewind": "early"}, {"prunings": 2}, "rewind early never happened, in 2 prunings"),
        ({}, {"prunings": 1}, "regrowth rigl was never due: between the first pruning and end"),
        ({}, {"prunings": 1, "regrowths_due": 3}, "was due 3 times, but had seen no gradient"),
        ({}, {"prunings": 1, "regrowths_due": 3, "regrowths": 3}, "grew no weight in 3 regrowths"),
        ({}, {"prunings": 1, "regrowths_due": 3, "regrowths": 1, "regrown": 1}, None),
        ({"rewind": "initial"}, {"prunings": 1, "rewinds": 1}, None),
    ],
)
def test_what_never_happened_is_named(
    changes: dict[str, Any], did: dict[str, int], message: str | None
) -> None:
    regrowing = {"regrowth": "rigl", "regrow_every": 900, "drop_fraction": 0.3}
    chosen = plan(**changes if "rewind" in changes else regrowing | changes)
    reason = missing(chosen, Did(**did))
    assert reason is None if message is None else message in (reason or "")


def test_early_weights_that_never_were_are_missed_before_any_trial(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """The baseline's training can end, by `until_return`, before they are kept."""
    early = tiny("pruning.rewind=[none, early]", "pruning.criterion=magnitude")
    check_baseline(early, baseline)
    ended = baseline.model_copy(update={"checkpoint": str(tmp_path / "algorithm")})
    check_baseline(tiny("pruning.criterion=magnitude"), ended)
    with pytest.raises(UserError, match=r"baseline\.early = 0\.1 of baseline.*ended after 6,"):
        check_baseline(early, ended)
    trainer = BaselineTrainer(tmp_path, tiny("baseline.early=0", storage=tmp_path))
    trainer._algorithm.stop()
    assert len(list(tmp_path.glob("baselines/*/early.pt"))) == 1  # at the very beginning


def test_a_trial_that_did_not_what_its_plan_says_fails(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """Its last iteration begins before the schedule; not so a trial that is stopped before."""
    folder = StudyFolder(tmp_path, "study")
    late = plan(schedule="one_shot", start=0.99, end=None, rounds=2, env_steps=1024)
    rounds = TrialRounds(tiny(), folder, baseline, 0, late)
    assert rounds.step().did == Did()
    with pytest.raises(TrialError, match=r"one_shot, which starts at progress 0\.99 of 1,024"):
        rounds.step()
    rounds.stop()
    assert not rounds.record.ended and len(rounds.record.points) == 1
