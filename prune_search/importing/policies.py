"""A policy of another library becomes a checkpoint of RLlib's, for `baseline.checkpoint`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gymnasium import spaces
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.models.utils import get_activation_fn
from torch import nn

from prune_search.errors import UserError, check_known
from prune_search.experiment.schema import Experiment
from prune_search.importing import stable_baselines, torch_files
from prune_search.importing.comparing import COUNT, compare
from prune_search.importing.files import check_file, of_stable_baselines
from prune_search.importing.filling import fill
from prune_search.importing.fitting import KINDS, fitted
from prune_search.importing.normalizer import Normalizer, read_normalizer
from prune_search.importing.source import (
    ACTIVATIONS,
    Source,
    action_outputs,
    kernels,
    refused,
)
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.configuration.environments import (
    environment_for,
    make_environment,
    steps_of,
)
from prune_search.rllib.configuration.observations import SCALED
from prune_search.rllib.connectors.normalising import filtering, teach
from prune_search.rllib.running import each_learner, sync_weights, unwrapped

_SCALED = (1 / 128, -1.0)  # what `SCALED` makes of a byte: x / 128 - 1


@dataclass(frozen=True)
class Imported:
    """What was written, and how it was checked."""

    checkpoint: Path
    """A folder for `baseline.checkpoint`."""
    source: str
    """What was read."""
    parameters: int
    """Of RLlib's network, critics and targets included."""
    observations: int
    """For how many its outputs were compared with the policy's."""
    difference: float
    """The largest, relative to the largest output or to 1."""
    notes: tuple[str, ...]
    """What the user is to know."""


def import_policy(
    policy: Path | nn.Module,
    experiment: Experiment,
    to: Path,
    *,
    normalizer: Path | None = None,
    critic: nn.Module | None = None,
) -> Imported:
    """Writes a checkpoint of the experiment's algorithm whose network computes what a policy does.

    It is compared with the policy on observations of random actions before it is kept.

    Args:
        policy: a model of Stable-Baselines3 (.zip), a `state_dict` of torch's, or a module that
            gives logits, means or Q-values, [rows, outputs].
        experiment: the environment and the algorithm; `algorithm.model` may be left out.
        to: folder to write; must not exist.
        normalizer: what `VecNormalize.save` has written, for policies that see through it.
        critic: beside a module, one that gives values, [rows, 1].

    Raises:
        UserError: it can't be read, does not fit, or RLlib's network gives something else.
    """
    if to.exists():
        raise UserError(f"to: {str(to)!r} exists; give another name")
    if isinstance(policy, Path):
        check_file(policy)
    check_known("import: algorithm.name", experiment.algorithm.name, KINDS)
    if experiment.environment.policies or experiment.algorithm.module:
        raise refused("policies act for one agent, in RLlib's default network")
    for setting in experiment.algorithm.model:
        check_known("import: algorithm.model", setting, DefaultModelConfig.__dataclass_fields__)
    if "observation_filter" in experiment.algorithm.env_runners:
        raise refused(
            "algorithm.env_runners.observation_filter would be of no use to it: what it sees"
            " through is given by --normalizer"
        )
    baseline = experiment.baseline.model_copy(update={"checkpoint": None})
    experiment = experiment.model_copy(update={"baseline": baseline})
    seen, acts = _spaces(experiment)
    source = _read(policy, experiment, seen, acts, critic)
    _check_actions(source, acts)
    experiment = fitted(experiment, source, continuous=isinstance(acts, spaces.Box))
    statistics = read_normalizer(normalizer) if normalizer else None
    config = algorithm_config(experiment, seed=0)
    if statistics is not None:
        if not isinstance(seen, spaces.Box) or seen.shape != statistics.mean.shape:
            raise refused(f"--normalizer: it is of {statistics.mean.shape}, observations {seen}")
        config.env_runners(env_to_module_connector=filtering(statistics.clip))
    scaled = any(step["name"] == SCALED["name"] for step in steps_of(config.env))
    algorithm = config.build_algo()
    part = to.resolve().with_name(f".{to.name}.part")  # RLlib takes no relative path
    shutil.rmtree(part, ignore_errors=True)
    try:
        pixels = _SCALED if scaled else (1.0, 0.0)
        counts = each_learner(algorithm, lambda learner: _filled(learner, source, pixels))
        sync_weights(algorithm)
        if statistics is not None:
            teach(algorithm, statistics.mean, statistics.deviation, statistics.count)
        algorithm.save_to_path(part)
        difference, notes = compare(part, source, statistics, experiment.baseline.seed)
        part.rename(to)
    finally:
        algorithm.stop()
        shutil.rmtree(part, ignore_errors=True)
    told = [*source.notes, *notes, *_told(source, statistics, acts, experiment)]
    return Imported(to.resolve(), source.name, counts[0], COUNT, difference, tuple(told))


def _spaces(experiment: Experiment) -> tuple[spaces.Space, spaces.Space]:
    """What the network sees and gives."""
    given = environment_for(experiment.environment)
    made = make_environment(experiment.environment, given)
    try:
        return made.observation_space, made.action_space
    finally:
        made.close()


def _read(
    policy: Path | nn.Module,
    experiment: Experiment,
    seen: spaces.Space,
    acts: spaces.Space,
    critic: nn.Module | None,
) -> Source:
    if isinstance(policy, Path):
        if of_stable_baselines(policy):
            return stable_baselines.read(policy)
        return torch_files.read(policy, _wanted(experiment, seen, acts))
    source = torch_files.of_module(policy, _wanted(experiment, seen, acts))
    if critic is None:
        return source
    read_off = torch_files.value_network(critic)
    return replace(source, critic=read_off, shared=0, evaluate=critic)


def _outputs(acts: spaces.Space) -> int:
    """Logits, means or Q-values that an environment's actions need."""
    if isinstance(acts, spaces.Discrete):
        return int(acts.n)
    return int(acts.nvec.sum() if isinstance(acts, spaces.MultiDiscrete) else acts.shape[0])


def _check_actions(source: Source, acts: spaces.Space) -> None:
    """Refuses a policy of another number of actions, before RLlib builds a network."""
    given, needed = int(kernels(source.actor)[-1].weight.shape[0]), _outputs(acts)
    both = isinstance(acts, spaces.Box)  # means alone, or deviations behind them
    if given != needed and not (both and given == 2 * needed):
        raise refused(
            f"{source.name}: {action_outputs(given)}, the environment's {type(acts).__name__}"
            f" has {needed}"
        )


def _wanted(experiment: Experiment, seen: spaces.Space, acts: spaces.Space) -> torch_files.Wanted:
    if not isinstance(seen, spaces.Box):
        raise refused(f"observations {seen}")
    images = len(seen.shape) == 3
    model = DefaultModelConfig(**experiment.algorithm.model)
    kind = get_activation_fn(model.fcnet_activation, framework="torch")
    if kind not in ACTIVATIONS:
        raise refused(f"algorithm.model.fcnet_activation {model.fcnet_activation!r} is not known")
    return torch_files.Wanted(
        KINDS[experiment.algorithm.name],
        int(seen.shape[-1]),
        images,
        _outputs(acts),
        isinstance(acts, spaces.Box),
        kind,
        [each[2] for each in model.conv_filters or []],
    )


def _filled(learner: Any, source: Source, pixels: tuple[float, float]) -> int:
    module = unwrapped(learner)
    fill(module, source, pixels)
    return sum(parameter.numel() for parameter in module.parameters())


def _told(
    source: Source, statistics: Normalizer | None, acts: spaces.Space, experiment: Experiment
) -> list[str]:
    notes = []
    if source.kind == "actor-critic" and source.critic is None:
        notes.append("there is no critic in it: RLlib's begins anew")
    if statistics is not None and statistics.of_rewards:
        notes.append("rewards were normalised: its critic gives values in units of theirs")
    if isinstance(acts, spaces.Box) and not source.clips and source.kind == "actor-critic":
        scaled = experiment.algorithm.env_runners.get("normalize_actions", True)
        how = "scaled from -1 .. 1 to" if scaled else "cut at"
        notes.append(f"actions are {how} their bounds (algorithm.env_runners.normalize_actions)")
    if source.training:
        set_ = ", ".join(f"{name} {value:g}" for name, value in source.training.items())
        notes.append(f"taken over where algorithm.training does not say them: {set_}")
    return notes
