"""From RLlib's checkpoint to the description of its policy, checked against RLlib's own network.

Greedy actions are those of RLlib's evaluation: of a Gaussian the mean, of a squashed one too (not
squashed, as `TorchSquashedGaussian.to_deterministic` has it), brought into the bounds by the
module-to-env connectors. What can't be described is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from ray.rllib.connectors.common.flatten_observations import FlattenObservations
from ray.rllib.connectors.common.frame_stacking import FrameStacking
from ray.rllib.connectors.module_to_env import NormalizeAndClipActions
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import (
    TorchCategorical,
    TorchDiagGaussian,
    TorchMultiCategorical,
    TorchSquashedGaussian,
)
from ray.rllib.core.rl_module.apis.q_net_api import QNetAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.numpy import MAX_LOG_NN_OUTPUT, MIN_LOG_NN_OUTPUT, SMALL_NUMBER

from prune_search.errors import UserError
from prune_search.export.reading import acting_parts, network_layers
from prune_search.export.refusing import cannot
from prune_search.export.rllib import compacted, pipelines, policies
from prune_search.export.surroundings import Surroundings, encoding, surroundings
from prune_search.policy.actions import Bounds, Choice, Continuous, Gaussian
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Dense, Expectation, Flatten, FrameStack, Layer, Normalisation
from prune_search.policy.reference import outputs
from prune_search.rllib.connectors.obstacles import INPUT, OUTPUT, connectors, is_filter
from prune_search.rllib.connectors.policy_parts import (
    observation_filter,
    of_one_agent,
    removes_keys,
)

_TOLERANCE = 1e-4  # of outputs, relative to the largest
_ROWS = 16


@dataclass(frozen=True, eq=False)
class Described:
    """A policy's description, and the environment that it acts in."""

    policy: PolicyDescription
    surroundings: Surroundings
    deviations: int = 0
    """Parameters that are not zero and give deviations of actions, which the policy does not
    read: they are left out of it."""


def describe(algorithm: Path, *, sampled: bool = False, held: bool = False) -> Described:
    """The policy in an algorithm's checkpoint, compacted where that changes nothing.

    Args:
        algorithm: folder of the checkpoint, such as a point's.
        sampled: whether actions are drawn from the policy's distribution, else the likeliest is
            taken.
        held: whether its weights are quantized, and are to stay what they are.

    Raises:
        UserError: it can't be read or described; the message says what, and which targets can.
    """
    found = policies(algorithm)
    if set(found) != {DEFAULT_MODULE_ID}:
        raise UserError(
            f"export: policies act for one agent, and this checkpoint has"
            f" {', '.join(found) or 'none'}; prune-search restore and compact write them all"
        )
    notes: list[str] = []
    module = found[DEFAULT_MODULE_ID]
    around = surroundings(algorithm)
    if around.wrappers:
        names = ", ".join(step["name"] for step in around.wrappers)
        notes.append(f"wrappers that stay the environment's: {names}")
    try:
        module = compacted(found, fold=not held)[DEFAULT_MODULE_ID].module
    except UserError as error:
        notes.append(f"not compacted: {error}")
    before, after = pipelines(algorithm)
    preprocessing = (*around.preprocessing, *_of_connectors(before, INPUT))
    bounds = _bounds(after, around.action_space)
    policy = describe_module(
        module,
        observation_shape=around.observation_shape,
        preprocessing=preprocessing,
        bounds=bounds,
        first=around.first,
        sampled=sampled,
        notes=notes,
    )
    return Described(policy, around, _unread(module, policy))


def describe_module(
    module: RLModule,
    *,
    observation_shape: tuple[int, ...] | None = None,
    preprocessing: tuple[Layer, ...] = (),
    bounds: Bounds | None = None,
    first: tuple[int, ...] | None = None,
    sampled: bool = False,
    notes: list[str] | None = None,
) -> PolicyDescription:
    """The policy of a network by itself, as RLlib treats its observations and actions by default.

    Args:
        module: of RLlib's default classes, or derived from them.
        observation_shape: of what goes in; what the network reads if None.
        preprocessing: what makes the network's input of it.
        bounds: how continuous actions are brought into their bounds; scaled to them where there
            are any if None, as is RLlib's default.
        first: for each discrete action, the number that stands for the network's 0; 0 if None.
        sampled: as of `describe`.
        notes: what is known about it already.

    Raises:
        UserError: as `describe`.
    """
    notes = list(notes or [])
    network, mean_only = network_layers(module, notes)
    space = module.action_space
    action: Choice | Continuous
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        action = _choice(module, space, first, sampled)
        network = _expected(module, network)
    elif isinstance(space, spaces.Box) and len(space.shape) == 1:
        log_deviation, limits = _deviation(module)
        sampling = _gaussian(module, log_deviation, limits) if sampled else None
        chosen = bounds or ("scale" if space.is_bounded() else "none")
        action = Continuous(_floats(space.low), _floats(space.high), chosen, sampling)
        if sampling is None and not mean_only:
            network = _first_outputs(network, len(space.low))
    else:
        raise cannot(f"actions {space}")
    shape = observation_shape or module.observation_space.shape
    policy = PolicyDescription(tuple(shape), preprocessing, tuple(network), action, tuple(notes))
    _check(policy, module)
    return policy


def _choice(
    module: RLModule,
    space: spaces.Discrete | spaces.MultiDiscrete,
    first: tuple[int, ...] | None,
    sampled: bool,
) -> Choice:
    if sampled and isinstance(module, QNetAPI) and hasattr(module, "epsilon_schedule"):
        raise cannot("epsilon-greedy actions of a Q-network; leave out --sampled, or")
    if isinstance(space, spaces.Discrete):
        return Choice((int(space.n),), first or (0,), single=True, sampled=sampled)
    sizes = tuple(int(size) for size in space.nvec.reshape(-1))
    return Choice(sizes, first or (0,) * len(sizes), single=False, sampled=sampled)


def _expected(module: RLModule, network: list[Layer]) -> list[Layer]:
    """Behind a Q-network that gives distributions, their means."""
    atoms = getattr(module, "num_atoms", 1)
    if not isinstance(module, QNetAPI) or atoms <= 1:
        return network
    support = np.linspace(module.v_min, module.v_max, atoms, dtype=np.float32)
    return [*network, Expectation(support)]


def _deviation(module: RLModule) -> tuple[Array | None, float | None]:
    """The log deviation that a Gaussian policy has beside its network, and what it is cut at."""
    _, head = acting_parts(module)
    free = getattr(head, "log_std", None)
    limit = float(head.log_std_clip_param) if getattr(head, "clip_log_std", False) else None
    return None if free is None else _floats(free), limit


def _gaussian(module: RLModule, free: Array | None, limit: float | None) -> Gaussian:
    kind = module.get_exploration_action_dist_cls()
    limits = None if limit is None else (-limit, limit)
    if issubclass(kind, TorchSquashedGaussian):
        low, high = limits or (-np.inf, np.inf)
        cut = (max(low, MIN_LOG_NN_OUTPUT), min(high, MAX_LOG_NN_OUTPUT))
        return Gaussian(free, (float(cut[0]), float(cut[1])), squashed=True)
    return Gaussian(free, limits, squashed=False)


def _first_outputs(network: list[Layer], count: int) -> list[Layer]:
    """The last layer without the rows that give deviations, which greedy actions don't read."""
    last = network[-1]
    if not isinstance(last, Dense):
        raise cannot(f"a Gaussian policy whose last layer is {type(last).__name__}")
    bias = None if last.bias is None else last.bias[:count]
    return [*network[:-1], Dense(last.weight[:count], bias)]


def _unread(module: RLModule, policy: PolicyDescription) -> int:
    """Of a Gaussian's network, the parameters that are not zero and that its mean does not read."""
    if isinstance(policy.action, Choice) or policy.action.sampling is not None:
        return 0
    layers, _ = network_layers(module, [])
    free, _ = _deviation(module)
    whole = sum(np.count_nonzero(array) for each in layers for array in each.arrays.values())
    return int(whole) - policy.nonzero + (0 if free is None else int(np.count_nonzero(free)))


def _of_connectors(pipeline: Any, plain: list[type]) -> Iterator[Layer]:
    """What RLlib's connectors do to an observation."""
    for each in connectors(pipeline):
        if is_filter(each):
            yield _normalisation(each)
        elif isinstance(each, FrameStacking) and of_one_agent(each):
            if each.num_frames > 1:  # one is the observation itself
                yield FrameStack(int(each.num_frames))
        elif isinstance(each, FlattenObservations) and of_one_agent(each):
            if removes_keys(each):
                raise cannot("a FlattenObservations connector that removes keys")
            space = each.input_observation_space
            yield Flatten() if isinstance(space, spaces.Box) else encoding(space)
        elif type(each) not in plain:
            raise cannot(f"the connector {type(each).__name__}")


def _normalisation(connector: Any) -> Normalisation:
    held = observation_filter(connector)
    statistics = held.running_stats
    shape = np.shape(statistics.mean)
    mean = statistics.mean if held.demean else np.zeros(shape)
    deviation = statistics.std + SMALL_NUMBER if held.destd else np.ones(shape)
    return Normalisation(_floats(mean), _floats(deviation), held.clip or None)


def _bounds(pipeline: Any, space: spaces.Space) -> Bounds:
    """How RLlib's connectors bring an action into its bounds."""
    chosen: Bounds = "none"
    for each in connectors(pipeline):
        if isinstance(each, NormalizeAndClipActions):
            if each.normalize_actions:
                bounded = isinstance(space, spaces.Box) and space.is_bounded()
                chosen = "scale" if bounded else "none"
            elif each.clip_actions:
                chosen = "clip"
        elif type(each) not in OUTPUT:
            raise cannot(f"the connector {type(each).__name__}")
    return chosen


@torch.no_grad()
def _check(policy: PolicyDescription, module: RLModule) -> None:
    """The described network must give what RLlib's does, on random numbers.

    Raises:
        UserError: it does not, so that something of the network was not understood.
    """
    shape = policy.shapes[len(policy.preprocessing)]
    alone = PolicyDescription(shape, (), policy.layers, policy.action)
    generator = np.random.default_rng(0)
    seen = generator.standard_normal((_ROWS, *shape)).astype(np.float32)
    batch: dict[str, Any] = {Columns.OBS: torch.from_numpy(seen)}
    if module.is_stateful():
        batch[Columns.OBS] = batch[Columns.OBS][:, None]
        batch[Columns.STATE_IN] = _initial(module.get_initial_state())
    kind = module.get_inference_action_dist_cls()
    known = (TorchCategorical, TorchDiagGaussian, TorchSquashedGaussian, TorchMultiCategorical)
    if not issubclass(kind, known):
        raise cannot(f"the action distribution {kind.__name__}")
    if isinstance(module, QNetAPI) and hasattr(module, "af"):
        want = module.compute_q_values(batch)["qf_preds"].numpy()
    else:
        want = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS].numpy()
    want = want.reshape(_ROWS, -1)
    got, _ = outputs(alone, seen)
    want, got = (_read(policy.action, each) for each in (want[:, : got.shape[1]], got))
    error = float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))
    if not error <= _TOLERANCE:
        raise cannot(
            f"the network {type(module).__name__}, whose outputs differ by {error:.1e} from those"
            " of its layers one after another"
        )


def _read(action: Choice | Continuous, outputs: Array) -> Array:
    """What of a network's outputs, [rows, outputs], the action depends on."""
    if isinstance(action, Choice):  # the same added to all of them changes nothing
        centred: Array = outputs - outputs.mean(1, keepdims=True)
        return centred
    if action.sampling is None or action.sampling.limits is None:
        return outputs
    means, log_deviations = np.split(outputs, [len(action.low)], axis=1)
    return np.concatenate([means, log_deviations.clip(*action.sampling.limits)], axis=1)


def _initial(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _initial(value) for key, value in state.items()}
    return torch.as_tensor(state)[None].repeat(_ROWS, *[1] * torch.as_tensor(state).dim())


def _floats(values: Any) -> Array:
    array = values.detach().numpy() if isinstance(values, torch.Tensor) else values
    return np.asarray(array, dtype=np.float32)
