"""Models of Stable-Baselines3: their weights and the settings beside them; no pickle is opened.

A model's zip holds its weights (`policy.pth`, tensors that torch reads with `weights_only`), and
`data`, a JSON text: plain values as they are, others as pickles in base64 beside what they show of
themselves as text. Only JSON and text are read here.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prune_search.errors import one_line
from prune_search.importing.source import (
    ACTIVATIONS,
    Kernel,
    Source,
    bias_of,
    layer_of,
    refused,
    stacked,
)

_NAME = "a model of Stable-Baselines3"
_STRIDES = (4, 2, 1)  # of its NatureCNN, which no file holds
_EXTRACTORS = ("FlattenExtractor", "NatureCNN")


def read(path: Path) -> Source:
    """The policy of a model that Stable-Baselines3 has saved: PPO, A2C, DQN or SAC.

    Raises:
        UserError: it can't be read, or has something that RLlib's networks have not; names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
            weights = _Weights(_tensors(archive, "policy.pth"))
            variables = _tensors(archive, "pytorch_variables.pth")
    except Exception as error:
        raise refused(f"{str(path)!r} can't be read as {_NAME}: {one_line(error)}") from None
    settings = _settings(data)
    pixels = _pixels(data, settings)
    training = {"gamma": data["gamma"]} if isinstance(data.get("gamma"), float) else {}
    if "action_net.weight" in weights.found:
        found = _actor_critic(weights, settings, pixels, training)
    elif "q_net.q_net.0.weight" in weights.found:
        found = _q_network(weights, settings, pixels, training)
    elif "actor.mu.weight" in weights.found:
        found = _soft(weights, settings, {**training, **_temperature(variables)})
    else:
        raise refused(
            f"{_NAME} with {next(iter(weights.found), 'no tensors')!r} is none of PPO, A2C, DQN,"
            " SAC, which can be imported"
        )
    if weights.left():
        raise refused(f"{_NAME}: RLlib's default networks have nothing for {weights.left()[0]!r}")
    return found


class _Weights:
    """Tensors by name, of which layers are taken."""

    def __init__(self, found: Mapping[str, Tensor]) -> None:
        self.found = dict(found)
        self._taken: set[str] = set()

    def layer(self, name: str, stride: int = 1) -> Kernel:
        self._taken |= {f"{name}.weight", f"{name}.bias"}
        return layer_of(self.found[f"{name}.weight"], self.found.get(f"{name}.bias"), stride)

    def chain(self, name: str) -> list[Kernel]:
        """The layers of a Sequential."""
        numbers = re.findall(rf"^{re.escape(name)}\.(\d+)\.weight$", "\n".join(self.found), re.M)
        return [self.layer(f"{name}.{number}") for number in sorted(numbers, key=int)]

    def extractor(self, name: str) -> list[Kernel]:
        """NatureCNN's layers; none where observations are vectors."""
        if f"{name}.cnn.0.weight" not in self.found:
            return []
        filters = [self.layer(f"{name}.cnn.{2 * n}", stride) for n, stride in enumerate(_STRIDES)]
        return [*filters, self.layer(f"{name}.linear.0")]

    def tensor(self, name: str) -> Tensor | None:
        self._taken.add(name)
        return self.found.get(name)

    def leave(self, name: str) -> None:
        """Nothing is to be taken of what is under that name."""
        self._taken |= {key for key in self.found if key.startswith(f"{name}.")}

    def left(self) -> list[str]:
        return [name for name in self.found if name not in self._taken]


def _tensors(archive: zipfile.ZipFile, name: str) -> dict[str, Tensor]:
    if name != "policy.pth" and name not in archive.namelist():
        return {}
    stream = io.BytesIO(archive.read(name))
    found = torch.load(stream, map_location="cpu", weights_only=True) or {}
    return {key: value for key, value in found.items() if isinstance(value, Tensor)}


def _settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the policy was made with, as text where it is no plain value."""
    module = str((data.get("policy_class") or {}).get("__module__"))
    if module.partition(".")[0] != "stable_baselines3":
        raise refused(f"{_NAME} whose policy class is of {module!r}: it may compute anything")
    settings = dict(data.get("policy_kwargs") or {})
    if data.get("use_sde") or settings.get("use_sde"):
        raise refused(f"{_NAME} with use_sde: RLlib has no state-dependent exploration")
    extractor = str(settings.get("features_extractor_class", _EXTRACTORS[0]))
    if not any(extractor.rstrip("'>").endswith(name) for name in _EXTRACTORS):
        raise refused(
            f"{_NAME} with features_extractor_class {extractor}: only {', '.join(_EXTRACTORS)}"
            " are known"
        )
    return settings


def _pixels(data: Mapping[str, Any], settings: Mapping[str, Any]) -> float:
    space = data.get("observation_space") or {}
    bytes_ = space.get("dtype") == "uint8" and len(space.get("_shape") or ()) == 3
    return 1 / 255 if bytes_ and settings.get("normalize_images", True) else 1.0


def _activation(settings: Mapping[str, Any], default: type[nn.Module]) -> type[nn.Module]:
    given = settings.get("activation_fn")
    if given is None:
        return default
    name = str(given).rstrip("'>").rpartition(".")[2]
    for known in ACTIVATIONS:
        if name == known.__name__:
            return known
    known_names = ", ".join(known.__name__ for known in ACTIVATIONS)
    raise refused(f"{_NAME} with activation_fn {name}: RLlib's networks take {known_names}")


def _network(features: list[Kernel], rest: list[Kernel], kind: type[nn.Module]) -> nn.Sequential:
    """NatureCNN's activations are ReLU, whatever the others are."""
    if not features:
        return stacked(rest, kind)
    return nn.Sequential(*stacked(features, nn.ReLU), nn.ReLU(), *stacked(rest, kind))


def _actor_critic(
    weights: _Weights, settings: Mapping[str, Any], pixels: float, training: Mapping[str, Any]
) -> Source:
    kind = _activation(settings, nn.Tanh)
    shared = bool(settings.get("share_features_extractor", True))
    features = weights.extractor("features_extractor")
    weights.leave("pi_features_extractor")
    of_critic = features
    if not shared and features:
        of_critic = weights.extractor("vf_features_extractor")
    weights.leave("vf_features_extractor")
    actor = [*weights.chain("mlp_extractor.policy_net"), weights.layer("action_net")]
    critic = [*weights.chain("mlp_extractor.value_net"), weights.layer("value_net")]
    return Source(
        f"{_NAME}, an actor and a critic (PPO, A2C)",
        "actor-critic",
        _network(features, actor, kind),
        _network(of_critic, critic, kind),
        shared=len(features) if shared else 0,
        log_deviation=weights.tensor("log_std"),
        pixels=pixels,
        clips=True,
        training=training,
    )


def _q_network(
    weights: _Weights, settings: Mapping[str, Any], pixels: float, training: Mapping[str, Any]
) -> Source:
    features = weights.extractor("q_net.features_extractor")
    network = weights.chain("q_net.q_net")
    weights.leave("q_net_target")
    return Source(
        f"{_NAME}, a Q-network (DQN)",
        "q",
        _network(features, network, _activation(settings, nn.ReLU)),
        pixels=pixels,
        training=training,
    )


def _soft(weights: _Weights, settings: Mapping[str, Any], training: Mapping[str, Any]) -> Source:
    kind = _activation(settings, nn.ReLU)
    mean, deviation = weights.layer("actor.mu"), weights.layer("actor.log_std")
    both = layer_of(
        torch.cat([mean.weight, deviation.weight]), torch.cat([bias_of(mean), bias_of(deviation)])
    )
    weights.leave("critic_target")
    names = sorted({name.split(".")[1] for name in weights.found if name.startswith("critic.qf")})
    if len(names) not in (1, 2):
        raise refused(f"{_NAME} with {len(names)} critics: RLlib's SAC has one or two")
    return Source(
        f"{_NAME}, a squashed Gaussian with Q-networks (SAC)",
        "sac",
        stacked([*weights.chain("actor.latent_pi"), both], kind),
        q_networks=[stacked(weights.chain(f"critic.{name}"), kind) for name in names],
        training=training,
        notes=[
            "greedy actions of RLlib's SAC are the Gaussian's mean, cut at the bounds, where"
            " Stable-Baselines3 takes its tanh: they differ; sampled ones do not"
        ],
    )


def _temperature(variables: Mapping[str, Tensor]) -> dict[str, float]:
    if "log_ent_coef" in variables:
        return {"initial_alpha": float(variables["log_ent_coef"].detach().exp())}
    if "ent_coef_tensor" in variables:
        return {"initial_alpha": float(variables["ent_coef_tensor"].detach())}
    return {}
