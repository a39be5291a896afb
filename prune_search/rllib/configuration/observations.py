"""What networks take, and what makes it of other observations and actions.

RLlib's default networks take vectors and channels-last images of floats, and give actions that
count from zero. Anything else becomes that by wrappers of gymnasium's and RLlib's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces.utils import flatten_space

from prune_search.errors import UserError

Step = dict[str, Any]
"""A wrapper: its dotted `name`, or one of the two below, and `kwargs`."""

CHANNELS_LAST = "channels last"
"""Images (C, H, W) to (H, W, C), stacks of images (T, H, W, C) to (H, W, C * T)."""
SHIFT_ACTIONS = "actions from zero"
"""Discrete actions counted from 0 instead of from their space's `start`."""

FLATTEN: Step = {"name": "gymnasium.wrappers.FlattenObservation", "kwargs": {}}
FLOATS: Step = {"name": "gymnasium.wrappers.DtypeObservation", "kwargs": {"dtype": "float32"}}
# To -1 .. 1, as RLlib's own preset for Atari does.
SCALED: Step = {
    "name": "ray.rllib.env.wrappers.atari_wrappers.NormalizedImageEnv",
    "kwargs": {},
}
_OF_ACTIONS: Step = {"name": SHIFT_ACTIONS, "kwargs": {}}


def conversion(observation: spaces.Space, action: spaces.Space) -> tuple[Step, ...]:
    """What to wrap an environment of one agent in so that RLlib's networks take what it gives.

    - Images of bytes (0 to 255, rank 3) become floats from -1 to 1; other integers, and booleans,
      become floats of the same value.
    - Images whose smallest dimension is their first, and stacks of images, get their channels
      last.
    - Numbers, matrices, and what is Discrete, MultiBinary, MultiDiscrete, Dict or Tuple become a
      vector, as gymnasium's FlattenObservation has it.
    - Discrete and MultiDiscrete actions count from 0.

    Raises:
        UserError: spaces that can't be converted without loss.
    """
    steps = _of_observations(observation)
    if isinstance(action, spaces.Discrete | spaces.MultiDiscrete) and np.any(action.start):
        steps.append(_OF_ACTIONS)
    return tuple(steps)


def _of_observations(space: spaces.Space) -> list[Step]:
    if isinstance(space, spaces.Box) and len(space.shape) in (3, 4):
        turned = len(space.shape) == 4 or space.shape[0] < min(space.shape[1:])
        return [{"name": CHANNELS_LAST, "kwargs": {}}] * turned + _floats(space)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return _floats(space)
    images = [part for part in _parts(space) if is_image(part)]
    if images:
        raise UserError(
            f"environment: observations hold an image beside other things ({space}), and would"
            " lose its rows and columns as a vector; name a wrapper in environment.wrappers that"
            " gives the image alone, or gymnasium.wrappers.FlattenObservation to lose them"
        )
    texts = any(isinstance(part, spaces.Text) for part in _parts(space))  # flat, they are codes
    try:
        flat = None if texts else flatten_space(space)
    except NotImplementedError:
        flat = None
    if not isinstance(flat, spaces.Box):
        raise UserError(
            f"environment: observations {space} can't be made a vector; name a wrapper in"
            " environment.wrappers that leaves out texts, sequences and graphs, for example"
            " gymnasium.wrappers.FilterObservation with kwargs {filter_keys: [...]}"
        )
    return [FLATTEN, *_floats(flat)]


def _floats(space: spaces.Box) -> list[Step]:
    if space.dtype in (np.float32, np.float64):  # RLlib makes the latter the former
        return []
    return [SCALED if is_image(space) else FLOATS]


def is_image(space: spaces.Space) -> bool:
    """Whether it holds images of bytes."""
    return (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) in (3, 4)
        and bool(np.all(space.low == 0) and np.all(space.high == 255))
    )


def _parts(space: spaces.Space) -> list[spaces.Space]:
    if isinstance(space, spaces.Dict):
        return [leaf for part in space.spaces.values() for leaf in _parts(part)]
    if isinstance(space, spaces.Tuple):
        return [leaf for part in space.spaces for leaf in _parts(part)]
    return [space]
