"""What can be known to be wrong before any training starts."""

from __future__ import annotations

from pathlib import Path

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModule

from prune_search.errors import UserError, one_line
from prune_search.experiment.fields import as_choices, highest
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.modules import shrunk_class
from prune_search.records.checkpoint import MODULES_PATH, MOMENTS
from prune_search.records.models import BaselineRecord
from prune_search.rllib.configuration.algorithms import (
    algorithm_config,
    checkpoint_config,
)
from prune_search.rllib.configuration.environments import name_of, steps_of
from prune_search.rllib.evaluation.cost import policy_cost
from prune_search.rllib.networks.roles import Network, networks
from prune_search.rllib.recovery.teacher import load_teacher
from prune_search.rllib.runners.choice import check_lean
from prune_search.sparsity.criteria import CRITERIA
from prune_search.sparsity.masks import check_maskable
from prune_search.sparsity.rewinding import REWINDS
from prune_search.trial.dense_networks import dense_modules, named_weights
from prune_search.trial.network_preflight import (
    check_granularities,
    check_thresholds,
    layers_in_scope,
)


def check(experiment: Experiment) -> None:
    """Makes the environment and the networks once, takes a few random steps, and opens checkpoints
    where there are any.

    Raises:
        UserError: the first thing that would not work, by the name of its field.
    """
    modules = dense_modules(experiment, tried=True)
    if experiment.resources.runner == "lean":
        check_lean(algorithm_config(experiment, seed=0))
    shapes = {name: tuple(value.shape) for name, value in named_weights(modules).items()}
    check_granularities(_networks(modules, experiment), shapes, experiment.pruning)
    checkpoint, pruning = experiment.baseline.checkpoint, experiment.pruning
    try:
        check_maskable(shapes)
    except ValueError as error:
        field = "baseline.checkpoint" if checkpoint else "algorithm.module"
        raise UserError(f"{field}: {one_line(error)}") from None
    if pruning.shrink and {"neuron", "filter"} & set(as_choices(pruning.granularity)):
        for module in modules.values():
            try:
                shrunk_class(type(module))
            except ValueError as error:
                raise UserError(
                    f"pruning.shrink: {one_line(error)}; or set it to false, to mask units only"
                ) from None
    _check_costs(modules, experiment)
    if checkpoint:
        _check_checkpoint(Path(checkpoint).expanduser(), experiment, modules)
    if pruning.teacher and highest(pruning.distillation) > 0:
        if Path(pruning.teacher).expanduser().exists():
            require_trust(experiment, "pruning.teacher")
        for module_id, module in modules.items():
            try:
                load_teacher(
                    Path(pruning.teacher), module.action_space, module.observation_space, module_id
                )
            except ValueError as error:
                raise UserError(f"pruning.{one_line(error)}") from None


def _check_costs(modules: dict[str, RLModule], experiment: Experiment) -> None:
    """A figure that the search goes by has to be known of every trial."""
    search = experiment.search
    limits = search.constraints.model_dump(exclude_none=True)
    named: dict[str, str] = dict.fromkeys(search.objectives, "search.objectives")
    named |= {name.removeprefix("max_"): f"search.constraints.{name}" for name in limits}
    if not {"macs", "latency_us"} & named.keys():
        return
    for figure, why in policy_cost(modules, timed=search.timed).missing.items():
        if figure in named:
            raise UserError(
                f"{named[figure]}: {figure} can't be measured for these networks: {why}"
            )


def prunable_layers(experiment: Experiment) -> tuple[str, ...]:
    """Names of the kernels that trials may prune."""
    return layers_in_scope(_networks(dense_modules(experiment), experiment), experiment.pruning)


def check_baseline(experiment: Experiment, baseline: BaselineRecord) -> None:
    """What only the dense weights can tell, before any trial begins.

    Raises:
        UserError: a threshold would remove a whole layer, or there are no weights to rewind to.
    """
    kept = Path(baseline.checkpoint).with_name(MOMENTS["early"]).is_file()
    rewinds = [name for name in as_choices(experiment.pruning.rewind) if name in REWINDS]
    early = [name for name in rewinds if REWINDS[name].weights == "early"]
    if early and not kept:
        raise UserError(
            f"pruning.rewind: {early[0]} returns to the weights after baseline.early ="
            f" {experiment.baseline.early:g} of baseline.env_steps,"
            f" {experiment.baseline.env_steps:,}, and the baseline's training ended after"
            f" {baseline.env_steps:,}; make baseline.early smaller"
        )
    if not any(CRITERIA[name].by_value for name in as_choices(experiment.pruning.criterion)):
        return
    modules = dense_modules(experiment)
    for module_id, module in modules.items():
        source = Path(baseline.checkpoint) / MODULES_PATH / module_id
        module.set_state(RLModule.from_checkpoint(source).get_state())
    check_thresholds(_networks(modules, experiment), named_weights(modules), experiment.pruning)


def _networks(modules: dict[str, RLModule], experiment: Experiment) -> dict[str, Network]:
    """All networks, by the names that trials use."""
    units = bool({"neuron", "filter"} & set(as_choices(experiment.pruning.granularity)))
    found: dict[str, Network] = {}
    for module_id, module in modules.items():
        try:
            own = networks(module, units=units)
        except ValueError as error:
            raise UserError(f"pruning.granularity: {one_line(error)}") from None
        if module_id == DEFAULT_MODULE_ID:
            return own
        found |= {(other := network.of(module_id)).name: other for network in own.values()}
    return found


def _check_checkpoint(path: Path, experiment: Experiment, modules: dict[str, RLModule]) -> None:
    config: AlgorithmConfig = checkpoint_config(experiment)
    name = str(config.algo_class.__name__) if config.algo_class else type(config).__name__
    if name != experiment.algorithm.name:
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} is of algorithm {name}, and algorithm.name is"
            f" {experiment.algorithm.name}"
        )
    theirs, ours = name_of(config.env), name_of(experiment.environment.id)
    if theirs is not None and theirs != ours:  # a class of theirs has no id
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} is of environment {theirs}, and environment.id is"
            f" {experiment.environment.id}"
        )
    wrapped = steps_of(config.env)
    if wrapped and wrapped != steps_of(algorithm_config(experiment, seed=0).env):
        names = ", ".join(step["name"] for step in wrapped)
        raise UserError(
            f"environment.wrappers: {str(path)!r} was trained with {names}; give the same, with"
            f" the same arguments: {wrapped}"
        )
    for module_id, module in modules.items():
        _check_network(path, module_id, module)


def _check_network(path: Path, module_id: str, module: RLModule) -> None:
    try:
        # RLlib resolves addresses of storage, which relative paths are not.
        saved = RLModule.from_checkpoint((path / MODULES_PATH / module_id).resolve())
    except Exception as error:
        raise UserError(
            f"baseline.checkpoint: the network in {str(path)!r} cannot be read: {one_line(error)}"
        ) from None
    ours = {name: tuple(value.shape) for name, value in module.named_parameters()}
    given = {name: tuple(value.shape) for name, value in saved.named_parameters()}
    different = [name for name in ours if name in given and given[name] != ours[name]]
    if different or not set(ours) <= set(given):
        name = (different or sorted(set(ours) - set(given)))[0]
        raise UserError(
            f"baseline.checkpoint: {str(path)!r} does not fit: {name} has shape {given.get(name)},"
            f" and environment and algorithm.model make it {ours[name]}"
        )
