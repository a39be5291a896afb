"""The stages of a policy are what they say, each smaller than the one before."""

from __future__ import annotations

import numpy as np

from prune_search.packed.file import pack
from prune_search.packed.quantizing import quantized_policy
from prune_search.packed.stages import stages
from prune_search.policy.actions import Choice
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Dense
from tests.packed.policies import vector_policy


def test_each_stage_is_smaller() -> None:
    quantized = quantized_policy(vector_policy(hidden=128), "network_sharing", 4)
    found = stages(quantized)
    dense = 4 * quantized.policy.parameters
    assert dense > found.pruned > found.quantized > found.coded["huffman"] > found.coded["range"]
    assert 2 * 15 < found.coded["range"] < len(pack(quantized, {}))


def test_by_hand() -> None:
    """Of 2 x 40 weights 2 are kept, 33 zeros before the second: one filler, three entries."""
    weight = np.zeros((2, 40), np.float32)
    weight[0, 0], weight[0, 34] = 1.0, -1.0
    policy = PolicyDescription((40,), (), (Dense(weight, None),), Choice((2,), (0,), single=True))
    found = stages(quantized_policy(policy, "sharing", 3))
    assert found.pruned == -(-3 * (5 + 32) // 8)
    assert found.quantized == -(-3 * (5 + 3) // 8) + 2 * 2
