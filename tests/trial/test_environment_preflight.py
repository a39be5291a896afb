"""An environment that does not do what it declares is told of before anything is trained."""

from __future__ import annotations

import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from ray.tune.registry import register_env

import tests.environments
from prune_search.errors import UserError
from prune_search.experiment.file import parse
from prune_search.trial.environment_preflight import mismatch, try_out
from prune_search.trial.preflight import check
from tests.environments import ACTIONS, KINDS, AnyKind, Pixels, Pursuit

BOX = spaces.Box(-1, 1, (6,), np.float32)
SEVERAL = spaces.Dict(place=BOX, rest=spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2))))
FINE = {"place": np.zeros(6, np.float32), "rest": (2, np.array([0, 1], np.int8))}


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (BOX, np.zeros(6)),
        (BOX, np.full(6, 40, np.float32)),
        (BOX, np.zeros(6, np.float16)),
        (BOX, np.zeros(6, np.uint8)),
        (BOX, [0, 0.5, 1, 0, 0, 0]),
        (BOX, [0] * 6),
        (spaces.Box(0, 255, (2,), np.uint8), np.zeros(2, np.int64)),
        (spaces.Box(-1, 1, (), np.float32), 0.5),
        (spaces.Box(0, 1, (2,), bool), np.zeros(2, bool)),
        (spaces.Discrete(6, start=1), np.int64(6)),
        (spaces.Discrete(2), np.array([1])),
        (spaces.Text(3), "abc"),
        (SEVERAL, OrderedDict(FINE)),
        (SEVERAL, {**FINE, "rest": [np.int64(0), np.zeros(2)]}),
    ],
)
def test_what_gymnasium_and_rllib_take_is_taken(space: gym.Space, value: Any) -> None:
    assert mismatch(space, value) is None


@pytest.mark.parametrize(
    ("space", "value", "expected"),
    [
        (BOX, np.zeros(5, np.float32), ("of shape (5,)", "", "(6,)")),
        (BOX, 0.0, ("of shape ()", "", "(6,)")),
        (BOX, np.zeros(6, np.int64), ("of dtype int64", "", "float32")),
        (BOX, np.array(["a"] * 6), ("of type <U1", "", "float32")),
        (BOX, None, ("of type NoneType", "", "float32")),
        (BOX, [[0.0], [0.0, 1.0]], ("of [[0.0], [0.0, 1.0]]", "", "shape (6,)")),
        (spaces.Box(0, 9, (1,), np.int64), np.zeros(1), ("of dtype float64", "", "int64")),
        (spaces.Discrete(3), 3, ("of 3", "", "Discrete(3)")),
        (spaces.Discrete(3), 1.0, ("of 1.0", "", "Discrete(3)")),
        (spaces.Discrete(3), "no", ("of 'no'", "", "Discrete(3)")),
        (SEVERAL, {"place": FINE["place"]}, ("with the keys ['place']", "", "['place', 'rest']")),
        (SEVERAL, FINE["place"], ("of type ndarray", "", "a dict of ['place', 'rest']")),
        (
            SEVERAL,
            {**FINE, "place": np.zeros(5)},
            ("of shape (5,)", " in ['place']", "(6,)"),
        ),
        (SEVERAL, {**FINE, "rest": (1,)}, ("of 1 parts", " in ['rest']", "2")),
        (SEVERAL, {**FINE, "rest": (7, [0, 1])}, ("of 7", " in ['rest'][0]", "Discrete(3)")),
    ],
)
def test_what_is_not_of_its_space_is_found(
    space: gym.Space, value: Any, expected: tuple[str, str, str]
) -> None:
    assert mismatch(space, value) == expected


class Wrong(gym.Env):
    """Gives what it is told to, from a step on; 0 is the reset."""

    observation_space = BOX
    action_space = spaces.Discrete(2)

    def __init__(self, at: int = 0, gives: str = "", rewards: str = "1.0") -> None:
        self._at, self._gives, self._rewards = at, gives or "np.zeros(6, np.float32)", rewards

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._steps = -1
        return self._seen(), {}

    def step(self, action: int) -> Any:
        observation = self._seen()
        reward = eval(self._rewards) if self._steps >= self._at else 1.0
        return observation, reward, self._steps >= 20, False, {}

    def _seen(self) -> Any:
        self._steps += 1
        fine = np.zeros(6, np.float32)
        return eval(self._gives) if self._steps >= self._at else fine


gym.register("Wrong-v0", entry_point=Wrong)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"gives": "np.zeros(5, np.float32)"},
            "environment: reset() returned an observation of shape (5,), and its"
            " observation_space says (6,)",
        ),
        (
            {"gives": "np.zeros(5, np.float32)", "at": 3},
            "environment: step() returned an observation of shape (5,), and its"
            " observation_space says (6,)",
        ),
        (
            {"gives": "np.zeros(6, int)"},
            "environment: reset() returned an observation of dtype int64, and its"
            " observation_space says float32",
        ),
        (
            {"gives": "np.full(6, np.nan)", "at": 1},
            "environment: reset() or step() returned an observation that is not finite",
        ),
        (
            {"rewards": "float('nan')", "at": 2},
            "environment: step() returned a reward that is not finite",
        ),
        (
            {"rewards": "None"},
            "environment: step() returned a reward that is no number: None",
        ),
    ],
)
def test_an_environment_is_told_what_it_does_not_keep(settings: Any, told: str) -> None:
    experiment = parse(
        "environment: {id: Wrong-v0, modules: [tests.trial.test_environment_preflight]}"
    )
    described = experiment.environment.model_copy(update={"config": settings})
    with pytest.raises(UserError) as raised:
        check(experiment.model_copy(update={"environment": described}))
    assert str(raised.value) == told


def test_one_that_raises_is_told_by_its_line(tmp_path: Path) -> None:
    experiment = parse(
        "environment: {id: Crashing-v0, modules: [tests.environments]}",
        [f"environment.config.mark={tmp_path}"],
    )
    lines = Path(tests.environments.__file__).read_text().splitlines()
    line = next(i for i, line in enumerate(lines, 1) if "the gripper is stuck" in line)
    with pytest.raises(UserError) as raised:
        check(experiment)
    assert str(raised.value) == (
        "environment: step() raised ValueError: the gripper is stuck: close it first"
        f" ({tests.environments.__file__} line {line}, step)"
    )


def test_what_is_converted_for_networks_is_compared_as_it_was_declared() -> None:
    """A conversion to vectors would hide rows and columns that are swapped."""

    class Matrix(Wrong):
        observation_space = spaces.Box(-1, 1, (2, 3), np.float32)

    gym.register("Matrix-v0", entry_point=Matrix)
    experiment = parse(
        "environment: {id: Matrix-v0, modules: [tests.trial.test_environment_preflight]}",
        ["environment.config={gives: 'np.zeros((3, 2), np.float32)'}"],
    )
    with pytest.raises(UserError, match=r"of shape \(3, 2\), and its .* says \(2, 3\)"):
        check(experiment)


def test_one_of_a_callable_is_tried_as_it_is() -> None:
    register_env("wrong-callable", lambda config: Wrong(gives="np.zeros((6, 1))"))
    experiment = parse("environment: {id: wrong-callable}")
    with pytest.raises(UserError, match=r"of shape \(6, 1\), and its observation_space says"):
        check(experiment)


@pytest.mark.parametrize("sees", KINDS)
def test_each_kind_of_observation_that_is_kept_passes(sees: str) -> None:
    try_out(AnyKind(sees))


@pytest.mark.parametrize("does", ACTIONS)
def test_each_kind_of_action_is_taken(does: str) -> None:
    try_out(AnyKind(does=does))


class Astray(Pursuit):
    """One of the agents sees what its space does not have; or an agent that nobody knows."""

    def __init__(self, agent: str = "chaser_1", length: int = 2) -> None:
        super().__init__()
        self._astray, self._length = agent, length

    def _see(self) -> dict[str, Any]:
        return {**super()._see(), self._astray: np.zeros(self._length, np.float32)}


def test_each_of_several_agents_is_looked_at() -> None:
    try_out(Pursuit())
    with pytest.raises(UserError, match=r"observation of agent 'chaser_1' of shape \(2,\), and"):
        try_out(Astray())
    with pytest.raises(UserError, match=r"observation of 'judge', and possible_agents are \['ru"):
        try_out(Astray("judge", 3))


def test_it_leaves_no_trace() -> None:
    environment = Pixels()
    before = random.getstate(), np.random.get_state()[1].tolist()
    actions = Pixels.action_space.np_random.bit_generator.state  # all of the class have one
    try_out(environment)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert Pixels.action_space.np_random.bit_generator.state == actions
