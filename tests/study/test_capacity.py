"""Room for a trial: what is refused before anything waits, and in which words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_search.errors import UserError
from prune_search.experiment.schema import Resources
from tuners.study import capacity
from tuners.study.capacity import check_room, fits, waiting_for

TWO_CPUS = [{"CPU": 2.0, "memory": 1e9}]
GPU_NODES = [{"CPU": 4.0}, {"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}]
MAIN = {"CPU": 1, "GPU": 0}


@pytest.mark.parametrize(
    ("resources", "bundles", "nodes", "message"),
    [
        ({"env_runners": 1}, [MAIN, MAIN], TWO_CPUS, None),
        (
            {"env_runners": 2},
            [MAIN] * 3,
            TWO_CPUS,
            "resources.env_runners: the baseline and each trial need 3 CPUs (1 for its own process,"
            " 2 for its env runners), and this machine has 2 CPUs; set env_runners to at most 1",
        ),
        (
            {"gpus_per_learner": 0.5},
            [{"CPU": 1, "GPU": 0.5}],
            TWO_CPUS,
            "resources.gpus_per_learner: the baseline and each trial need 0.5 GPU, and this machine"
            " has no GPU; set it to 0 to train on CPUs",
        ),
        ({"learners": 2, "address": "auto"}, [MAIN, *[{"CPU": 0, "GPU": 1}] * 2], GPU_NODES, None),
        (
            {"learners": 1, "gpus_per_learner": 2, "address": "auto"},
            [MAIN, {"CPU": 0, "GPU": 2}],
            GPU_NODES,
            "resources.gpus_per_learner: the baseline and each trial need 2 GPUs, and the cluster"
            " has 2 GPUs, on 3 nodes none of which has enough",
        ),
        (
            {"env_runners": 3, "learners": 9, "address": "auto"},
            [MAIN] * 13,
            GPU_NODES,
            "resources.env_runners and resources.learners: the baseline and each trial need 13 CPUs"
            " (1 for its own process, 3 for its env runners, 9 for its learners), and the cluster"
            " has 12 CPUs; set env_runners to at most 2",
        ),
    ],
)
def test_what_has_no_room(
    resources: dict[str, Any], bundles: list[Any], nodes: list[Any], message: str | None
) -> None:
    if message is None:
        check_room(bundles, Resources(**resources), nodes)
        return
    with pytest.raises(UserError) as refused:
        check_room(bundles, Resources(**resources), nodes)
    assert str(refused.value) == message


Amounts = st.fixed_dictionaries(
    {"CPU": st.integers(0, 4), "GPU": st.sampled_from([0, 0.25, 0.5, 1, 2])}
)


@given(bundles=st.lists(Amounts, min_size=1, max_size=5), nodes=st.lists(Amounts, max_size=4))
def test_only_what_can_be_placed_fits(
    bundles: list[dict[str, float]], nodes: list[dict[str, float]]
) -> None:
    if fits(bundles, nodes):
        assert _placeable(bundles, nodes)
    elif len(nodes) == 1 or len(bundles) == 1:  # where the order doesn't matter
        assert not _placeable(bundles, nodes)


def _placeable(bundles: list[dict[str, float]], nodes: list[dict[str, float]]) -> bool:
    """By trying all ways."""
    if not bundles:
        return True
    first, *others = bundles
    for at, node in enumerate(nodes):
        left = {name: node[name] - first[name] for name in node}
        if min(left.values()) >= 0 and _placeable(others, [*nodes[:at], left, *nodes[at + 1 :]]):
            return True
    return False


@pytest.mark.parametrize(
    ("gpus", "free", "message"),
    [
        (0.0, 4.0, "waiting for the cluster to grow: a trial needs 1 CPU, 1 GPU, and it has 4 "),
        (1.0, 0.0, "waiting for room: a trial needs 1 CPU, and 0 of 4 are free"),
        (1.0, 4.0, ""),
    ],
)
def test_what_is_waited_for_is_said(
    monkeypatch: pytest.MonkeyPatch, gpus: float, free: float, message: str
) -> None:
    request = SimpleNamespace(bundles=[{"CPU": 1, "GPU": 1 if message else 0}])
    request.bundles[0]["GPU"] = int(not gpus)
    nodes = [{"CPU": 4.0, "GPU": gpus}]
    monkeypatch.setattr(capacity, "cluster", lambda: nodes)
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": free, "GPU": gpus})
    assert waiting_for(request).startswith(message) and bool(waiting_for(request)) == bool(message)
