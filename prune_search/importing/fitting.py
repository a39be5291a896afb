"""The settings of RLlib's default network that computes what a policy from elsewhere does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from torch import nn

from prune_search.experiment.file import inline
from prune_search.experiment.schema import Algorithm, Experiment
from prune_search.importing.source import Kernel, Kind, Source, activations, kernels, refused

KINDS: dict[str, Kind] = {
    "PPO": "actor-critic",
    "APPO": "actor-critic",
    "IMPALA": "actor-critic",
    "DQN": "q",
    "SAC": "sac",
}
"""The algorithms that policies are imported for, and what their networks are."""


def fitted(experiment: Experiment, source: Source, *, continuous: bool) -> Experiment:
    """The experiment with the network that holds the policy, in this process alone.

    Args:
        experiment: whose algorithm it is to be.
        source: the policy.
        continuous: whether actions are.

    Raises:
        UserError: RLlib's default networks can't hold it, or the experiment says otherwise.
    """
    algorithm = experiment.algorithm
    kind = KINDS[algorithm.name]
    if kind != source.kind:
        raise refused(
            f"{source.name} is not for {algorithm.name}; algorithm.name may be"
            f" {', '.join(name for name, other in KINDS.items() if other == source.kind)}"
        )
    needed = _model(source, continuous)
    training: dict[str, Any] = {}
    if kind == "q":
        training = {"dueling": False, "num_atoms": 1}
    elif kind == "sac":
        training = {"twin_q": len(source.q_networks) == 2}
    runners: dict[str, Any] = {}
    if continuous and source.clips:
        runners = {"normalize_actions": False, "clip_actions": True}
    _agree(algorithm, {"model": needed, "training": training, "env_runners": runners})
    settings = {
        "model": {**algorithm.model, **needed},
        "training": {**source.training, **training, **algorithm.training},
        "env_runners": {**algorithm.env_runners, **runners},
    }
    here = {"runner": "rllib", "env_runners": 0, "learners": 0, "gpus_per_learner": 0}
    return experiment.model_copy(
        update={
            "algorithm": algorithm.model_copy(update=settings),
            "resources": experiment.resources.model_copy(update=here),
        }
    )


def _agree(algorithm: Algorithm, needed: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises where the experiment has other settings, with those that it must have, to copy."""
    different: list[str] = []
    paste = ["algorithm:"]
    for section, settings in needed.items():
        given = dict(getattr(algorithm, section))
        found = [_difference(section, given, *item) for item in settings.items()]
        if any(found):
            different += filter(None, found)
            paste.append(f"  {section}:")
            whole = {**given, **settings}
            paste += [f"    {name}: {inline(value)}" for name, value in whole.items()]
    if different:
        # What no file of weights tells, such as activations, has to stay.
        told = {"fcnet_activation", "conv_filters"} & algorithm.model.keys()
        out = "" if told or "  model:" not in paste else "leave algorithm.model out, or "
        raise refused(f"{'; '.join(different)}; {out}let the experiment say:", "\n".join(paste))


def _difference(section: str, given: Mapping[str, Any], name: str, value: Any) -> str:
    """How a setting differs from what the policy has; empty where it doesn't."""
    if section == "model" and given:  # what a file leaves out of it is RLlib's default
        has = vars(DefaultModelConfig(**given))[name]
    else:
        has = given.get(name, value)
    if has == value:
        return ""
    differ = f"algorithm.{section}.{name}: the policy has {inline(value)},"
    if name in given:
        return f"{differ} and the experiment {inline(has)}"
    return f"{differ} RLlib's default is {inline(has)}, and the experiment sets none"


def _model(source: Source, continuous: bool) -> dict[str, Any]:
    layers = _hidden(source, source.actor)
    if source.critic is not None:
        of_critic = _hidden(source, source.critic)
        if [_size(each) for each in of_critic] != [_size(each) for each in layers]:
            raise refused(
                f"{source.name}: its critic has hidden layers {_sizes(of_critic)} and its actor"
                f" {_sizes(layers)}; those of RLlib's default networks are alike"
            )
    filters = [each for each in layers if isinstance(each, nn.Conv2d)]
    dense = [each.weight.shape[0] for each in layers if not isinstance(each, nn.Conv2d)]
    names = [name for _, name in activations(source.actor)]
    model: dict[str, Any] = {}
    if filters:
        if 0 < source.shared < len(filters) or source.kind == "sac":
            raise refused(f"{source.name} of images: RLlib's default networks can't hold it")
        model["conv_filters"] = [_filters(each) for each in filters]
        model["conv_activation"] = _one(source, names[: len(filters)])
        head, of_head = dense, names[len(filters) :]
    else:
        encoded = source.shared or len(dense)
        if not encoded:
            raise refused(f"{source.name} has no hidden layer; RLlib's default networks have one")
        model["fcnet_hiddens"] = dense[:encoded]
        model["fcnet_activation"] = _one(source, names[:encoded])
        head, of_head = dense[encoded:], names[encoded:]
    model["head_fcnet_hiddens"] = head
    if head:
        model["head_fcnet_activation"] = _one(source, of_head)
    if source.kind == "actor-critic":
        model["vf_share_layers"] = source.shared > 0
        if continuous:
            model["free_log_std"] = source.log_deviation is not None
    if source.kind == "sac":
        model.update(_fusion(source, model))
    return model


def _hidden(source: Source, network: nn.Sequential) -> list[Kernel]:
    *layers, last = kernels(network)
    if isinstance(last, nn.Conv2d):
        raise refused(f"{source.name} has no dense layer at its end")
    return layers


def _fusion(source: Source, model: Mapping[str, Any]) -> dict[str, Any]:
    """RLlib's Q-networks of SAC read observation and action apart, and then together.

    Behind ReLU a vector passes through wide enough layers as it is, as its positive and its
    negative part; so these networks can hold those that read both at once.
    """
    *hidden, last = [each.weight.shape[0] for each in kernels(source.q_networks[0])][:-1] or [0]
    sizes = model["fcnet_hiddens"]
    inputs = kernels(source.q_networks[0])[0].weight.shape[1]
    relu = all(name == "relu" for q in source.q_networks for _, name in activations(q))
    if last != sizes[-1] or not relu or model["fcnet_activation"] != "relu":
        raise refused(
            f"{source.name}: RLlib's Q-networks hold it where all activations are ReLU, and the"
            f" last hidden layer of actor and Q-networks is alike; these are {sizes[-1]} and {last}"
        )
    if min(sizes) < 2 * inputs:
        raise refused(f"{source.name}: hidden layers of {min(sizes)} are too narrow for RLlib's")
    return {"fusionnet_hiddens": hidden, "fusionnet_activation": "relu"}


def _filters(layer: nn.Conv2d) -> list[Any]:
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding == (0, 0)
    if not plain:
        raise refused(f"the layer {layer}: RLlib's default convolutions here are without padding")
    sizes = [list(pair) if pair[0] != pair[1] else pair[0] for pair in _pairs(layer)]
    return [layer.out_channels, *sizes, "valid"]


def _pairs(layer: nn.Conv2d) -> Sequence[tuple[int, ...]]:
    return layer.kernel_size, layer.stride


def _one(source: Source, names: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(names))
    if len(kinds) != 1:
        raise refused(
            f"{source.name} has activations {', '.join(kinds) or 'none'} where RLlib's default"
            " networks have one"
        )
    return kinds[0]


def _size(layer: Kernel) -> tuple[int, ...]:
    return tuple(layer.weight.shape)


def _sizes(layers: Sequence[Kernel]) -> list[int]:
    return [int(each.weight.shape[0]) for each in layers]
