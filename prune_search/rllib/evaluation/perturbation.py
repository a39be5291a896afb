"""The task made harder while a policy is measured: noise, stuck or late actions, other physics."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import yaml  # type: ignore[import-untyped]
from gymnasium import spaces

from prune_search.errors import UserError, check_known, one_line, shown
from prune_search.experiment.schema import Environment, Experiment
from prune_search.rllib.configuration.environments import environment_for, make_environment

_GROUPS = {"physics": "physics.ATTRIBUTE", "config": "config.ARGUMENT"}
_KNOWN = ("noise", "sticky", "delay", *_GROUPS.values())
_STEPS = 10_000  # of random play, by which noise is measured
_SEED = 2**28  # of that play, below those of evaluations
_ROUNDING = 1e-6  # of an engine that keeps single precision


@dataclass(frozen=True)
class Perturbation:
    """What is done to a task, as `perturbation` reads it from a text."""

    text: str
    noise: float = 0.0
    """Standard deviation of the noise on each component of the observation, as a share of the
    component's own while random actions are taken."""
    sticky: float = 0.0
    """Probability that an action is the last one again (Machado et al. 2018, section 5)."""
    delay: int = 0
    """Steps by which observations come late; zeros until the first does."""
    config: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment."""
    physics: dict[str, float] = field(default_factory=dict)
    """Factors of the environment's attributes, by their dotted names."""


def perturbation(text: str) -> Perturbation:
    """Reads `noise=0.1,sticky=0.25,delay=1,physics.gravity=1.2,config.wind_power=15`.

    Raises:
        UserError: a part is none of these or named twice, or its value is outside of what it may
            be, or changes nothing.
    """
    found: dict[str, Any] = {"config": {}, "physics": {}}
    names: set[str] = set()
    for part in text.split(","):
        name, equals, given = part.strip().partition("=")
        group, dot, inner = name.partition(".")
        check_known("under", _GROUPS.get(group, name) if dot else name, _KNOWN)
        if not equals or not given or (dot and not inner):
            raise UserError(f"under: {part!r} must be NAME=VALUE, such as noise=0.1")
        if name in names:
            raise UserError(f"under: {name} is given twice in {text!r}")
        names.add(name)
        if dot and group == "config":
            found["config"][inner] = yaml.safe_load(given)
        elif dot:
            found["physics"][inner] = _number(part, given, -np.inf, np.inf, idle=1)
        elif name == "delay":
            found["delay"] = int(_number(part, given, 1, 1_000, whole=True))
        else:
            found[name] = _number(part, given, 0, 0.99 if name == "sticky" else 100)
    return Perturbation(text, **found)


def _number(
    part: str, given: str, low: float, high: float, *, whole: bool = False, idle: float = 0
) -> float:
    """The number that is given; `idle` is the one that changes nothing."""
    try:
        value = float(given)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and low <= value <= high) or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        limits = f" from {low:g} to {high:g}" if np.isfinite(high) else ""
        raise UserError(f"under: {part!r} must give {kind}{limits}")
    if value == idle:
        raise UserError(f"under: {part!r} changes nothing")
    return value


def perturbed(experiment: Experiment, change: Perturbation) -> Experiment:
    """The experiment on the harder task; what is trained on it is another baseline.

    Raises:
        UserError: the task has nothing of the kind: no observations of real numbers to put noise
            on, no such attribute or argument, or an attribute that it sets anew itself.
    """
    task = experiment.environment
    same = [name for name, value in change.config.items() if task.config.get(name, ...) == value]
    if same:
        raise UserError(f"under: config.{same[0]} is {task.config[same[0]]!r} already")
    described = task.model_dump()
    described["config"] = {**task.config, **change.config}
    added: list[dict[str, Any]] = []
    if change.physics:
        _check_physics(Environment.model_validate(described), change.physics)
        added.append(_step(ChangedPhysics, factors=change.physics))
    if change.sticky:
        kwargs = {"repeat_action_probability": change.sticky}
        added.append({"name": "gymnasium.wrappers.StickyAction", "kwargs": kwargs})
    if change.noise:
        deviation = _deviation(task.model_dump_json())
        added.append(_step(ObservationNoise, std=(change.noise * deviation).tolist()))
    if change.delay:
        added.append(
            {"name": "gymnasium.wrappers.DelayObservation", "kwargs": {"delay": change.delay}}
        )
    described["wrappers"] = [*described["wrappers"], *added]
    harder = Environment.model_validate(described)
    made = make_environment(harder, environment_for(harder, convert=False))
    try:
        made.reset(seed=_SEED)
        made.step(made.action_space.sample())
    except Exception as error:
        raise UserError(f"under: {change.text} fails on {task.id}: {one_line(error)}") from None
    finally:
        made.close()
    return experiment.model_copy(update={"environment": harder})


def _check_physics(task: Environment, factors: Mapping[str, float]) -> None:
    """Raises UserError where a factor is not at work in two environments beside each other, from
    the first episode to the second."""
    given = environment_for(task, convert=False)
    made = [make_environment(task, given) for _ in range(2)]
    try:
        changed = [ChangedPhysics(environment, factors) for environment in made]
        for seed in (_SEED, _SEED + 1):
            for environment in changed:
                environment.reset(seed=seed)
                environment.step(environment.action_space.sample())
    finally:
        for environment in made:
            environment.close()


def _step(wrapper: type, **kwargs: Any) -> dict[str, Any]:
    return {"name": f"{wrapper.__module__}.{wrapper.__qualname__}", "kwargs": kwargs}


@functools.cache
def _deviation(text: str) -> np.ndarray[Any, Any]:
    """Standard deviation of each component of the observation under random actions, found once in a
    process."""
    task = Environment.model_validate_json(text)
    environment = make_environment(task, environment_for(task, convert=False))
    space = environment.observation_space
    if not (isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)):
        environment.close()
        raise UserError(f"under: noise is for observations of real numbers, got {space}")
    environment.action_space.seed(_SEED)
    seen, over, seed = [], True, _SEED
    for _ in range(_STEPS):
        if over:
            observation, _ = environment.reset(seed=seed)
            seed += 1
        observation, _, terminated, truncated, _ = environment.step(
            environment.action_space.sample()
        )
        over = terminated or truncated
        seen.append(observation)
    environment.close()
    deviation = np.asarray(np.std(seen, axis=0, dtype=np.float64))
    if not deviation.any():
        raise UserError("under: noise changes nothing: observations do not vary")
    return deviation


class ObservationNoise(gym.ObservationWrapper[Any, Any, Any]):
    """Adds Gaussian noise, which an episode's seed decides; the environment's own luck stays.

    Args:
        env: its observations are Boxes of real numbers.
        std: standard deviations, of the observation's shape.
    """

    def __init__(self, env: gym.Env[Any, Any], std: Sequence[Any]) -> None:
        super().__init__(env)
        self._std = np.asarray(std)
        self._random = np.random.default_rng(_SEED)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if seed is not None:
            self._random = np.random.default_rng([_SEED, seed])
        return super().reset(seed=seed, options=options)

    def observation(self, observation: Any) -> Any:
        noise = self._std * self._random.standard_normal(self._std.shape)
        return (observation + noise).astype(observation.dtype)


class ChangedPhysics(gym.Wrapper[Any, Any, Any, Any]):
    """Multiplies attributes of the environment itself, within all wrappers.

    What the environment has computed from them before stays as it was: CartPole's
    `polemass_length`, beside `length`. Whether they are still what they were made is looked at
    after each reset.

    Args:
        env: any.
        factors: by the attributes' dotted names, `gravity`, `model.opt.gravity`.

    Raises:
        UserError: there is no such attribute, it is no number, or cannot be another; and, of
            `reset`: the environment has set it anew.
    """

    def __init__(self, env: gym.Env[Any, Any], factors: Mapping[str, float]) -> None:
        super().__init__(env)
        self._wanted: dict[str, Any] = {}
        for name, factor in factors.items():
            value = self._value(name)
            if value is None:
                known = ", ".join(_numbers(env.unwrapped))
                raise UserError(f"under: no number {name}; there are: {known}")
            wanted = value * factor
            if np.array_equal(wanted, value):
                raise UserError(f"under: physics.{name} is {shown(value)}: no factor changes it")
            try:
                setattr(self._owner(name), name.rpartition(".")[2], wanted)
            except (AttributeError, TypeError, ValueError) as error:
                raise UserError(f"under: physics.{name} can't be set: {one_line(error)}") from None
            self._wanted[name] = wanted

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        found = super().reset(seed=seed, options=options)
        for name, wanted in self._wanted.items():
            value = self._value(name)
            if value is None or not np.allclose(value, wanted, rtol=_ROUNDING, atol=0):
                raise UserError(
                    f"under: physics.{name} is {shown(value)} after a reset, in place of"
                    f" {shown(wanted)}: the environment sets it itself, or shares it with others"
                )
        return found

    def _owner(self, name: str) -> Any:
        owner: Any = self.env.unwrapped
        for part in name.split(".")[:-1]:
            owner = getattr(owner, part, None)
        return owner

    def _value(self, name: str) -> Any:
        """The attribute as it is now; None where it is no number."""
        value = getattr(self._owner(name), name.rpartition(".")[2], None)
        number = isinstance(value, numbers.Real | np.ndarray) and not isinstance(value, bool)
        return value if number else None


def _numbers(environment: gym.Env[Any, Any]) -> list[str]:
    """Names of an environment's attributes that are single numbers."""
    names = {*dir(type(environment)), *vars(environment)}
    return sorted(
        name
        for name in names
        if not name.startswith("_") and type(getattr(environment, name, None)) in (int, float)
    )
