"""A policy's weights, laid into RLlib's network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from torch import Tensor, nn

from prune_search.importing.source import Kernel, Source, bias_of, kernels, refused


@torch.no_grad()
def fill(module: Any, source: Source, pixels: tuple[float, float]) -> None:
    """Lets a network compute what a policy does; target networks follow at once.

    Args:
        module: a learner's, of RLlib's default class, with the settings of `fitted`.
        source: the policy.
        pixels: scale and shift that observations come with, where the policy's have neither.

    Raises:
        UserError: a layer has another shape.
    """
    if source.kind == "q":
        _lay(source, source.actor, [module.encoder, module.af], pixels)
    elif source.kind == "sac":
        _lay(source, source.actor, [module.pi_encoder, module.pi], pixels)
        names = ["qf", "qf_twin"][: len(source.q_networks)]
        for name, network in zip(names, source.q_networks, strict=True):
            _lay_soft(getattr(module, f"{name}_encoder"), getattr(module, name), network)
    else:
        both = module.encoder
        shared = hasattr(both, "encoder")
        actors = both.encoder if shared else both.actor_encoder
        _lay(source, source.actor, [actors, module.pi], pixels)
        if source.log_deviation is not None:
            module.pi.log_std.copy_(source.log_deviation)
        if source.critic is not None:
            critics = both.encoder if shared else both.critic_encoder
            _lay(source, source.critic, [critics, module.vf], pixels)
    if isinstance(module, TargetNetworkAPI):
        for trained, target in module.get_target_network_pairs():
            target.load_state_dict(trained.state_dict())


def _lay(
    source: Source, network: nn.Sequential, parts: Sequence[nn.Module], pixels: tuple[float, float]
) -> None:
    theirs = kernels(network)
    ours = [layer for part in parts for layer in kernels(part)]
    before: Kernel | None = None
    for number, (layer, place) in enumerate(zip(theirs, ours, strict=True)):
        weight, bias = layer.weight, bias_of(layer)
        if isinstance(before, nn.Conv2d) and isinstance(layer, nn.Linear):
            weight = _channels_last(weight, before.out_channels)
        if number == 0 and isinstance(layer, nn.Conv2d):
            # Scaled pixels are s = scale * x + shift; the kernel reads x times the policy's own.
            scale, shift = pixels
            weight = weight * (source.pixels / scale)
            bias = bias - shift * weight.sum((1, 2, 3))
        if weight.shape != place.weight.shape:
            raise refused(
                f"{source.name}: its layer {number + 1} has weights {tuple(weight.shape)}, and"
                f" RLlib's network for this environment {tuple(place.weight.shape)}"
            )
        place.weight.copy_(weight)
        bias_of(place).copy_(bias)
        before = layer


def _channels_last(weight: Tensor, channels: int) -> Tensor:
    """A dense layer behind convolutions, for images that RLlib flattens channels last."""
    return weight.reshape(len(weight), channels, -1).transpose(1, 2).flatten(1)


def _lay_soft(encoder: Any, head: nn.Module, network: nn.Sequential) -> None:
    """A Q-network that reads observation and action at once, into one that fuses them.

    Both pass their own layers as positive and negative part; the other units of those layers keep
    their first weights, and nothing reads them until it is learned.
    """
    first, *rest = kernels(network)
    fused = [*encoder.fusion_layers, encoder.output_layer, *kernels(head)]
    streams: dict[str, nn.Module] = dict(encoder.base_encoders.items())
    weights: list[Tensor] = []
    begin = 0
    for name in (Columns.OBS, Columns.ACTIONS):
        layers = kernels(streams[name])
        size = layers[0].weight.shape[1]
        _pass(layers, size)
        part = first.weight[:, begin : begin + size]
        embedded = torch.zeros(len(part), layers[-1].weight.shape[0])
        embedded[:, :size], embedded[:, size : 2 * size] = part, -part
        weights.append(embedded)
        begin += size
    order = [Columns.OBS, Columns.ACTIONS]
    joined = torch.cat([weights[order.index(name)] for name in sorted(streams)], 1)
    for layer, place in zip([first, *rest], fused, strict=True):
        place.weight.zero_()  # what skips a layer is not read
        read = joined if layer is first else layer.weight
        place.weight[:, : read.shape[1]].copy_(read)
        place.bias.copy_(bias_of(layer))


def _pass(layers: Sequence[Kernel], size: int) -> None:
    """Layers with ReLU behind each give a vector as max(x, 0) and max(-x, 0)."""
    one = torch.eye(size)
    for number, layer in enumerate(layers):
        layer.weight[: 2 * size].zero_()
        bias_of(layer)[: 2 * size].zero_()
        if number == 0:
            layer.weight[:size].copy_(one)
            layer.weight[size : 2 * size].copy_(-one)
        else:
            layer.weight[: 2 * size, : 2 * size].copy_(torch.eye(2 * size))
