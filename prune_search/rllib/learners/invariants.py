"""What must hold of a pruned algorithm, looked up wherever its weights lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from torch import Tensor

from prune_search.rllib.learners.parameters import optimizers, target_parameters, trained_parameters
from prune_search.rllib.networks.roles import full_name
from prune_search.rllib.running import each_learner

_MOMENTS = ("exp_avg", "exp_avg_sq")


def alive(algorithm: Algorithm, masks: Mapping[str, Tensor]) -> list[str]:
    """Where masked weights, or their moments, are anything but exactly zero; empty if nowhere.

    In every learner, its optimizers' moments and target networks, and in every env runner.

    Args:
        algorithm: has taken an optimizer step, so that there are moments.
        masks: by parameter name, True where a weight is kept.

    Returns:
        A line for each place, also for a learner without moments and an env runner without
        pruned networks: there nothing would be looked at.

    Raises:
        RuntimeError: a learner is lost.
    """
    several = bool(algorithm.config and algorithm.config.is_multi_agent)

    def wrong(tensor: Tensor, name: str) -> bool:
        return bool(torch.count_nonzero(tensor.cpu()[~masks[name].cpu()]))

    def in_learner(learner: Any) -> list[str]:
        parameters = trained_parameters(learner)
        found = [name for name in masks if wrong(parameters[name], name)]
        found += [
            f"target of {name}"
            for name, value in target_parameters(learner)
            if name in masks and wrong(value, name)
        ]
        moments = 0
        for optimizer in optimizers(learner):
            for name in masks:
                state = optimizer.state.get(parameters[name], {})
                for key in state.keys() & set(_MOMENTS):
                    moments += 1
                    found += [f"{key} of {name}"] if wrong(state[key], name) else []
        return found if moments >= len(_MOMENTS) * len(masks) else [*found, "moments missing"]

    def in_runner(runner: Any) -> list[str]:
        modules = dict(runner.module.items()) if several else {None: runner.module}
        parameters = {
            name if module_id is None else full_name(module_id, name): parameter
            for module_id, module in modules.items()
            for acting in [module.get_state(inference_only=True)]
            for name, parameter in module.named_parameters()
            if name in acting
        }
        seen = masks.keys() & parameters.keys()
        found = [name for name in sorted(seen) if wrong(parameters[name], name)]
        return found if seen else ["no pruned network"]

    places = [(f"learner {i}", each) for i, each in enumerate(each_learner(algorithm, in_learner))]
    if algorithm.env_runner_group is not None:
        answers = algorithm.env_runner_group.foreach_env_runner(in_runner)
        if len(answers) != 1 + algorithm.env_runner_group.num_remote_env_runners():
            places.append(("env runners", [f"{len(answers)} answered"]))
        places += [(f"env runner {i}", each) for i, each in enumerate(answers)]
    return [f"{place}: {line}" for place, lines in places for line in lines]
