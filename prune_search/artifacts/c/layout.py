"""Hidden units in an order in which rows of about as many weights are neighbours."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from prune_search.artifacts.c.storage import LANES, Rows, stored
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Activation, Dense


def laid_out(policy: PolicyDescription) -> PolicyDescription:
    """The same policy, with units of sparse layers so that `stored` can put rows together.

    Units between two dense layers have no order of their own: they are sorted by how many weights
    they have, and units without any are added until there are whole groups of rows.
    """
    layers = list(policy.layers)
    places = [place for place, layer in enumerate(layers) if not isinstance(layer, Activation)]
    for place, behind in itertools.pairwise(places):
        layer, follower = layers[place], layers[behind]
        if not isinstance(layer, Dense) or not isinstance(follower, Dense):
            continue
        if isinstance(stored("", layer.weight), Rows):
            continue
        dead = -len(layer.weight) % LANES
        weight = np.pad(layer.weight, ((0, dead), (0, 0)))
        order = np.argsort(np.count_nonzero(weight, axis=1), kind="stable")
        bias = None if layer.bias is None else np.pad(layer.bias, (0, dead))[order]
        layers[place] = Dense(weight[order], bias)
        again = np.pad(follower.weight, ((0, 0), (0, dead)))[:, order]
        layers[behind] = Dense(again, follower.bias)
    return replace(policy, layers=tuple(layers))
