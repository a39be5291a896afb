"""Tasks that train as a trial does, in as much room as a trial takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def placed(call: Callable[..., Any], request: Any, retries: int) -> tuple[Any, Any]:
    """A Ray task that has a trial's placement group, and the group, which its caller removes.

    What the task starts itself, env runners and learners, goes into the group as well.

    Args:
        call: what it runs; on another node, so that its arguments must be picklable.
        request: a trial's resources, as `trial_resources` gives them.
        retries: how often it is run again where its process is lost.
    """
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    place, first = request.to_placement_group(), request.bundles[0]
    task = ray.remote(call).options(
        num_cpus=first.get("CPU", 0),
        num_gpus=first.get("GPU", 0),
        max_retries=retries,
        scheduling_strategy=PlacementGroupSchedulingStrategy(
            placement_group=place,
            placement_group_bundle_index=0,
            placement_group_capture_child_tasks=True,
        ),
    )
    return task, place
