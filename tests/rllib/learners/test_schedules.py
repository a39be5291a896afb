"""What RLlib schedules: where a trial's schedules begin, what they follow, and that they resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_search.records.folder import StudyFolder
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.parameters import optimizers
from prune_search.rllib.learners.schedules import Clock, TrialSchedules, follow
from prune_search.rllib.recovery import moments
from prune_search.rllib.running import env_steps
from prune_search.trial.rounds import TrialRounds
from tests.algorithms import built, small
from tests.plans import SHORT, plan
from tests.trial.test_strategies import figures, resumed

LR, ENTROPY = [[0, 0.01], [6000, 0.0]], [[0, 0.5], [3000, 0.0]]
SCHEDULED = (f"algorithm.training.lr={LR}", f"algorithm.training.entropy_coeff={ENTROPY}")


def scheduled(algorithm: Any) -> dict[str, float]:
    """What RLlib has now, of all that it schedules."""

    def of_learner(held: Any) -> dict[str, float]:
        found = {
            f"lr {number}": float(group["lr"])
            for number, optimizer in enumerate(optimizers(held))
            for group in optimizer.param_groups
        }
        coefficients = getattr(held, "entropy_coeff_schedulers_per_module", {})
        return found | {
            f"entropy {k}": float(v.get_current_value()) for k, v in coefficients.items()
        }

    def of_runner(runner: Any) -> dict[str, float]:
        epsilon = getattr(runner.module, "epsilon_schedule", None)
        return {} if epsilon is None else {"epsilon": float(epsilon.get_current_value())}

    (acting,) = algorithm.env_runner_group.foreach_env_runner(of_runner)
    return learner.one(algorithm, of_learner) | acting


@given(
    position=st.integers(0, 5000), begin=st.integers(0, 4000), width=st.integers(1, 4000),
    start=st.integers(0, 10**7),
)  # fmt: skip
def test_own_schedules_go_from_where_they_are_to_their_end(
    position: int, begin: int, width: int, start: int
) -> None:
    own = TrialSchedules(None, start, own=True, length=5000, budget=8000)  # type: ignore[arg-type]
    clock = own._from(position, begin, begin + width)
    assert clock.at(start + begin) == position
    assert clock.at(start + begin + width) == pytest.approx(5000)
    other = TrialSchedules(None, start, own=False, length=5000, budget=8000)  # type: ignore[arg-type]
    assert other._from(position, begin, begin + width).at(start + begin + 7) == position + 7
    assert other.clock.at(start + 7) == start + 7


KINDS = {
    "ppo": SCHEDULED,
    "impala": SCHEDULED,
    "appo": SCHEDULED,
    "dqn": (SCHEDULED[0], "algorithm.training.epsilon=[[0, 1.0], [3000, 0.1]]"),
    "sac": tuple(f"algorithm.training.{kind}_lr={LR}" for kind in ("actor", "critic", "alpha")),
}


@pytest.mark.parametrize("name", KINDS)
def test_schedules_follow_a_clock_at_once_and_over_updates(local_ray: None, name: str) -> None:
    """RLlib would hold their first values until an update, and then go by its own count."""
    with built(small(name, *KINDS[name])) as algorithm:
        first = {"lr": 0.01, "entropy": 0.5, "epsilon": 1.0}
        middle = {"lr": 0.005, "entropy": 0.0, "epsilon": 0.1}
        follow(algorithm)
        found = scheduled(algorithm)
        assert found and all(found[key] == pytest.approx(first[key.split()[0]]) for key in found)
        follow(algorithm, Clock(0, 3000, 0.0))  # which stands still
        for _ in range(2):
            found = scheduled(algorithm)
            assert all(found[k] == pytest.approx(middle[k.split()[0]]) for k in found), found
            algorithm.train()
        if name in ("impala", "appo"):
            return
        follow(algorithm, Clock(0, 0.0, 2.0), rates=Clock(0, 1500.0, 0.0))
        algorithm.train()
        rates = {k: v for k, v in scheduled(algorithm).items() if k.startswith("lr")}
        assert rates and all(rate == pytest.approx(0.0075) for rate in rates.values())
        if name == "ppo":
            expected = 0.5 - 0.5 * 2 * env_steps(algorithm) / 3000
            (entropy,) = (v for k, v in scheduled(algorithm).items() if k.startswith("entropy"))
            assert entropy == pytest.approx(max(0.0, expected), rel=1e-4)


@pytest.mark.parametrize("schedules", ["own", pytest.param("continued", marks=pytest.mark.slow)])
def test_a_trial_with_schedules_resumes_exactly(
    tiny: Any, baseline: Any, tmp_path: Path, schedules: str
) -> None:
    experiment = tiny(*SCHEDULED, SHORT, f"pruning.rllib_schedules={schedules}")
    chosen = plan(env_steps=2000, rounds=2, schedule="cubic", lr_scale=0.5)
    folder = StudyFolder(tmp_path, "whole")
    rounds = TrialRounds(experiment, folder, baseline, 0, chosen)
    algorithm = rounds.trained.algorithm
    begun = scheduled(algorithm)
    while not rounds.done:
        rounds.step()
    ended = scheduled(algorithm)
    rounds.stop()
    if schedules == "own":  # from the first value to the last, though the baseline's are at theirs
        assert begun == {"lr 0": 0.005, "entropy default_policy": 0.5}
        assert ended == {"lr 0": 0.0, "entropy default_policy": 0.0}
    else:
        at = baseline.env_steps
        assert begun == {
            "lr 0": pytest.approx(0.5 * max(0.0, 0.01 * (1 - at / 6000))),
            "entropy default_policy": 0.0,
        }
    parts = resumed(experiment, StudyFolder(tmp_path, "parts"), baseline, chosen)
    assert [figures(point) for point in parts] == [figures(p) for p in rounds.record.points]


def test_what_the_dense_policy_adapted_is_there_when_a_trial_begins(
    tiny: Any, baseline: Any, tmp_path: Path
) -> None:
    """RLlib's checkpoint has none of it."""
    rounds = TrialRounds(tiny(), StudyFolder(tmp_path, "study"), baseline, 0, plan())
    found = learner.adaptive_state(rounds.trained.algorithm)
    rounds.stop()
    kept = torch.load(Path(baseline.checkpoint).with_name("adaptive.pt"), weights_only=True)
    assert found == kept
    assert coefficient(kept) != pytest.approx(0.2)  # RLlib's first


@pytest.mark.parametrize("rewind", ["initial", "early"])
def test_a_ticket_starts_where_its_weights_were(
    tiny: Any, baseline: Any, tmp_path: Path, rewind: str
) -> None:
    """Schedules, and what the algorithm adapts, go back with the weights."""
    experiment = tiny(*SCHEDULED, "pruning.rllib_schedules=continued")
    chosen = plan(schedule="one_shot", end=None, start=0.5, rewind=rewind, rounds=2, env_steps=2048)
    rounds = TrialRounds(experiment, StudyFolder(tmp_path, "study"), baseline, 0, chosen)
    assert scheduled(rounds.trained.algorithm)["entropy default_policy"] == 0.0
    rounds.step()
    rounds.trained.dynamics.begin(rounds.record.env_steps, rounds.record.points)
    algorithm = rounds.trained.algorithm
    found, adapted = scheduled(algorithm), learner.adaptive_state(algorithm)
    rounds.stop()
    if rewind == "initial":
        position, kl = 0, 0.2
    else:
        moment = moments.early(Path(baseline.checkpoint).parent, 0)
        position, kl = moment.env_steps, coefficient(moment.adaptive)
        assert 600 <= position < 1200
    assert found["lr 0"] == pytest.approx(0.01 * (1 - position / 6000))
    assert found["entropy default_policy"] == pytest.approx(0.5 * (1 - position / 3000))
    assert coefficient(adapted) == pytest.approx(kl)


def coefficient(adapted: dict[str, dict[str, float]]) -> float:
    """PPO's KL coefficient."""
    return adapted["curr_kl_coeffs_per_module"]["default_policy"]
