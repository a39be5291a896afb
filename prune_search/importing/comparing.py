"""RLlib's network, as it was written, beside the policy that it is to compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.utils.numpy import MIN_LOG_NN_OUTPUT
from torch import Tensor

from prune_search.export.describing import Described, describe
from prune_search.export.rllib import policies
from prune_search.export.surroundings import flat
from prune_search.importing.normalizer import Normalizer
from prune_search.importing.source import Source, refused
from prune_search.policy.arrays import Array
from prune_search.policy.layers import Layer, Normalisation, Scaling
from prune_search.policy.reference import through

TOLERANCE = 1e-5
"""What outputs may differ by, relative to the largest (or to 1)."""
COUNT = 1000
"""Observations, of random actions in the environment."""


@torch.no_grad()
def compare(
    checkpoint: Path, source: Source, normalizer: Normalizer | None, seed: int
) -> tuple[float, list[str]]:
    """The largest difference of any output, relative to the largest output or to 1.

    Args:
        checkpoint: folder of RLlib's algorithm, as it was written.
        source: the policy.
        normalizer: of its observations.
        seed: of the environment and of random actions.

    Returns:
        That difference, at most `TOLERANCE`; and what is to be known besides.

    Raises:
        UserError: they differ by more.
    """
    described = describe(checkpoint)
    module: Any = policies(checkpoint)[DEFAULT_MODULE_ID]
    module.eval()
    raw = _observations(described, seed)
    steps = described.policy.preprocessing
    form = tuple(step for step in steps if not isinstance(step, Scaling | Normalisation))
    ours = {Columns.OBS: _through(steps, raw)}
    theirs = _through(form, raw)
    if theirs.dim() == 4:
        theirs = theirs.movedim(-1, 1).contiguous() * source.pixels
    if normalizer is not None:
        theirs = normalizer(theirs)
    notes: list[str] = []
    want = source.outputs(theirs)
    pairs = {"actions": (_outputs(module, source, ours), want)}
    if source.critic is not None:
        pairs["values"] = (module.compute_values(ours), source.values(theirs).reshape(-1))
    if source.q_networks:
        size = module.action_space.shape[0]
        actions = torch.rand((len(raw), size), generator=torch.Generator().manual_seed(seed)) * 2
        ours = {**ours, Columns.ACTIONS: actions - 1}
        values = [q(torch.cat([theirs, actions - 1], 1))[:, 0] for q in source.q_networks]
        pairs["Q-values"] = (module.compute_q_values(ours), torch.stack(values).amin(0))
        low = float((want[:, size:] < MIN_LOG_NN_OUTPUT).float().mean())
        if low:
            notes.append(
                f"RLlib keeps log deviations at {MIN_LOG_NN_OUTPUT} or above, and {low:.1%} of the"
                " policy's lie below: there it samples more widely"
            )
    worst = 0.0
    for name, (got, expected) in pairs.items():
        scale = max(1.0, float(expected.abs().max()))
        difference = float((got.reshape(expected.shape) - expected).abs().max()) / scale
        if not difference <= TOLERANCE:
            raise refused(
                f"{source.name}: RLlib's network gives {name} that differ by {difference:.1e} on"
                f" {len(raw):,} observations ({TOLERANCE:.0e} is allowed); nothing was written"
            )
        worst = max(worst, difference)
    return worst, notes


def _outputs(module: Any, source: Source, batch: dict[str, Tensor]) -> Tensor:
    if source.kind == "q":
        found = module.compute_q_values(batch)["qf_preds"]
    else:
        found = module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS]
    return torch.as_tensor(found)


def _through(steps: tuple[Layer, ...], raw: Array) -> Tensor:
    found, _ = through(steps, [0] * len(steps), raw, np.zeros((len(raw), 0), np.float32))
    return torch.as_tensor(found)


def _observations(described: Described, seed: int) -> Array:
    """As the environment gives them, [COUNT, *observation_shape]."""
    environment = described.surroundings.make()
    environment.action_space.seed(seed)
    space = environment.observation_space
    found: list[Array] = []
    seen, _ = environment.reset(seed=seed)
    try:
        while len(found) < COUNT:
            found.append(flat(space, seen))
            seen, _, over, cut, _ = environment.step(environment.action_space.sample())
            if over or cut:
                seen, _ = environment.reset()
    finally:
        environment.close()
    return np.stack(found)
