"""A small dense network instead of a pruned one: as many parameters, trained for as long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prune_search.experiment.schema import Experiment
from prune_search.records.record import Record
from prune_search.records.returns import Return
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import Evaluator
from prune_search.rllib.learners.schedules import Clock, follow
from prune_search.rllib.runners.choice import build
from prune_search.rllib.running import (
    TRAINING_SEEDS,
    env_steps,
    process_settings,
    reseed,
    settle,
    train,
)
from prune_search.trial.algorithm import measure
from prune_search.trial.dense_networks import dense_modules
from tuners.study.cluster import connection

_HALVINGS = 12
_WIDTHS = {"fcnet_hiddens": [256, 256]}  # RLlib's default


class SmallDense(Record):
    """A small network that was trained."""

    layers: list[Any]
    """As RLlib's model settings have them: convolutions, then hidden widths."""
    parameters: int
    env_steps: int
    returned: Return


def narrowed(experiment: Experiment, parameters: int) -> Experiment | None:
    """The experiment with the widest network of at most so many parameters.

    Hidden layers and filters keep their proportions; where even a unit in each has more parameters
    than that, they have a unit each.

    Returns:
        None where the network is of the user's own, and has no widths that are known.
    """
    if experiment.algorithm.module is not None:
        return None
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if parameters_of(_scaled(experiment, middle)) <= parameters:
            low = middle
        else:
            high = middle
    return _scaled(experiment, low)


def parameters_of(experiment: Experiment) -> int:
    """Parameters of the inference networks that an experiment describes."""
    return sum(
        parameter.numel()
        for module in dense_modules(experiment).values()
        for name, parameter in module.named_parameters()
        if name in module.get_state(inference_only=True)
    )


def small_dense(
    experiment: Experiment,
    folder: Path,
    seeds: range,
    steps: int,
    say: Callable[[str], None],
) -> list[SmallDense]:
    """Trains the network that an experiment describes, several seeds at a time as Ray has room.

    Args:
        experiment: with the small network.
        folder: where each is kept once it is trained, and found again.
        seeds: of the trainings.
        steps: env steps of each; RLlib's schedules, written for `baseline.env_steps`, are
            stretched over them.
        say: is told of each that has ended.
    """
    import ray

    found = {seed: SmallDense.read(_file(folder, seed)) for seed in seeds}
    missing = [seed for seed, known in found.items() if known is None]
    if missing:
        with connection(experiment.resources):
            train = ray.remote(_train).options(num_cpus=1, name="small dense network")
            begun = {train.remote(experiment, seed, steps): seed for seed in missing}
            while begun:
                (done,), _ = ray.wait(list(begun), num_returns=1)
                seed = begun.pop(done)
                found[seed] = one = ray.get(done)
                one.write(_file(folder, seed))
                say(f"small dense network {one.layers}: return {one.returned.value:.1f}")
    return [one for one in found.values() if one is not None]


def _scaled(experiment: Experiment, share: float) -> Experiment:
    """With this share of each hidden layer's units and filters, at least one."""
    model = {**_WIDTHS, **experiment.algorithm.model}
    for name in ("fcnet_hiddens", "head_fcnet_hiddens"):
        if name in model:
            model[name] = [max(1, round(width * share)) for width in model[name]]
    if filters := model.get("conv_filters"):
        model["conv_filters"] = [[max(1, round(one[0] * share)), *one[1:]] for one in filters]
    algorithm = experiment.algorithm.model_copy(update={"model": model})
    return experiment.model_copy(update={"algorithm": algorithm})


def _train(experiment: Experiment, seed: int, steps: int) -> SmallDense:
    """One training, as a task of Ray's."""
    process_settings(experiment.resources.threads)
    config = algorithm_config(experiment, seed % TRAINING_SEEDS)
    algorithm, evaluator = build(config), Evaluator(config, experiment.evaluation)
    reseed(algorithm, seed % TRAINING_SEEDS)
    clock = Clock(rate=experiment.baseline.env_steps / steps)
    while env_steps(algorithm) < steps:
        follow(algorithm, clock)
        train(algorithm)
    settle(algorithm)
    model = experiment.algorithm.model
    found = SmallDense(
        layers=[*(model.get("conv_filters") or []), *model["fcnet_hiddens"]],
        parameters=parameters_of(experiment),
        env_steps=env_steps(algorithm),
        returned=measure(algorithm, evaluator, experiment.evaluation),
    )
    algorithm.stop()
    return found


def _file(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}.json"
