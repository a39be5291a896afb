"""Measuring how much the policy suffers when one layer alone is pruned, without training.

Sensitivity scans of single layers: Han et al. 2015, Learning both weights and connections,
figure 6; for filters Li et al. 2017, Pruning filters for efficient ConvNets, section 3.2. Every
point is played on the search's evaluation seeds (common random numbers), so that curves differ by
their masks alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from torch import Tensor

from prune_search.errors import TrialError
from prune_search.experiment.extensions import import_extensions
from prune_search.experiment.schema import Experiment
from prune_search.records.layer_curves import SensitivityPoint, SensitivityRecord
from prune_search.records.models import BaselineRecord
from prune_search.records.returns import Return
from prune_search.rllib.checkpoints import saving
from prune_search.rllib.configuration.algorithms import algorithm_config
from prune_search.rllib.evaluation.evaluator import Evaluator, runner_state
from prune_search.rllib.learners import masks as learner
from prune_search.rllib.learners.evidence import Statistics
from prune_search.rllib.learners.schedules import follow
from prune_search.rllib.networks.roles import ACTOR, Network
from prune_search.rllib.running import TRAINING_SEEDS, reseed, train
from prune_search.sparsity.criteria import criterion as find_criterion
from prune_search.sparsity.selection.granularities import GRANULARITIES
from prune_search.trial.pruning.pruner import check_finite, chosen_layers
from prune_search.trial.sensitivity.single_layers import Cut, check_measurable, cuts

RATIOS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Shares of a layer's weights that are asked for."""

Report = Callable[[int, int], None]
"""Told how many evaluations are done, and of how many."""

_MOST_LOOKS = 100  # training iterations in which a criterion must have seen a batch


def sensitivity_of(
    experiment: Experiment,
    file: Path | None,
    baseline: BaselineRecord,
    granularity: str,
    criterion: str,
    report: Report | None = None,
) -> SensitivityRecord:
    """The baseline's sensitivity: measured once, then read from the file.

    It depends on experiment and baseline alone, so that it is the same for whichever trial comes
    first, and trials that measure it at the same time write the same. Measured on an algorithm
    built for it in this process, without remote env runners and learners; Ray must run.

    Args:
        experiment: `search.seed`, `pruning.layers` and `evaluation` count.
        file: what keeps it, see `StudyFolder.sensitivity_file`; None to measure anew and keep
            nothing.
        baseline: the dense policy.
        granularity: a key of `GRANULARITIES`.
        criterion: a key of `CRITERIA`.
        report: told of the progress.

    Raises:
        ValueError: as `check_measurable`, or a layer's shape does not suit the granularity.
        TrialError: weights, statistics or returns are not finite.
    """
    import_extensions(experiment.modules)
    check_measurable(granularity, criterion)
    known = SensitivityRecord.read(file) if file else None
    if known is not None and _answers(known, experiment, baseline):
        return known
    seed = experiment.search.seed % TRAINING_SEEDS
    local = experiment.resources.model_copy(update={"env_runners": 0, "learners": 0})
    config = algorithm_config(experiment.model_copy(update={"resources": local}), seed)
    algorithm = config.build_algo()
    try:
        saving.load(algorithm, Path(baseline.checkpoint))
        follow(algorithm)
        evaluator = Evaluator(config, experiment.evaluation)
        policy = _dense_policy(algorithm, evaluator, granularity, criterion, seed)
        record = measure_curves(experiment, baseline, policy, granularity, criterion, report)
    finally:
        algorithm.stop()
    if file:
        record.write(file)
    return record


@dataclass(frozen=True)
class DensePolicy:
    """The dense policy, ready to have its layers pruned one by one."""

    evaluator: Evaluator
    """With the policy in it; it has it again after each measurement."""
    networks: Mapping[str, Network]
    """By name, with their units where the granularity removes units."""
    weights: Mapping[str, Tensor]
    """Of all networks. Not changed."""
    evidence: Statistics = field(default_factory=dict)
    """By statistic and layer, what the criterion needs beside the weights."""


def measure_curves(
    experiment: Experiment,
    baseline: BaselineRecord,
    policy: DensePolicy,
    granularity: str,
    criterion: str,
    report: Report | None = None,
) -> SensitivityRecord:
    """Prunes each layer of the acting networks alone, at each of `RATIOS`, and plays.

    Args:
        experiment: what is measured; see `sensitivity_of`.
        baseline: its returns are the scale; where they are of another number of episodes, they
            are measured anew.
        policy: the baseline's.
        granularity: a key of `GRANULARITIES`. With units only layers that produce some are
            measured: of the others none can go.
        criterion: a key of `CRITERIA`.
        report: told of the progress.

    Raises:
        ValueError: as `sensitivity_of`, or a statistic is missing.
        TrialError: weights, statistics or returns are not finite.
    """
    check_measurable(granularity, criterion)
    for what, tensors in {"weights": policy.weights, **policy.evidence}.items():
        check_finite(what, dict(tensors))
    # All masks before the first evaluation: what is wrong with the arguments shows at once.
    planned = _planned(experiment, policy, granularity, criterion)
    scale = _scale(experiment, baseline, policy.evaluator)
    points = _played(planned, scale, experiment, policy.evaluator, report or (lambda *_: None))
    patterns = experiment.pruning.layers
    return SensitivityRecord(
        environment=experiment.environment.id,
        granularity=granularity,
        criterion=criterion,
        baseline=scale.key,
        layers=patterns,
        seed=experiment.search.seed,
        episodes=experiment.evaluation.episodes,
        dense=scale.returned,
        random=scale.random,
        weights={layer: policy.weights[layer].numel() for layer in points},
        points=points,
        flat=[
            layer
            for network in policy.networks.values()
            if network.role != ACTOR
            for layer in chosen_layers(network, patterns)
        ],
    )


def _planned(
    experiment: Experiment, policy: DensePolicy, granularity: str, criterion: str
) -> list[Cut]:
    """What each point of each curve removes."""
    return [
        cut
        for network in policy.networks.values()
        if network.role == ACTOR
        for cut in cuts(
            network,
            chosen_layers(network, experiment.pruning.layers),
            policy.weights,
            granularity,
            criterion,
            policy.evidence,
            experiment.search.seed,
            RATIOS,
        )
    ]


def _scale(
    experiment: Experiment, baseline: BaselineRecord, evaluator: Evaluator
) -> BaselineRecord:
    """The baseline, with its and random actions' returns over as many episodes as are played."""
    seed, episodes = experiment.evaluation.seed, experiment.evaluation.episodes
    if baseline.returned.episodes == episodes:
        return baseline
    returns = {
        "returned": evaluator.measure(seed, episodes),
        "random": evaluator.measure(seed, episodes, random=True),
    }
    return baseline.model_copy(update=returns)


def _played(
    planned: Sequence[Cut],
    scale: BaselineRecord,
    experiment: Experiment,
    evaluator: Evaluator,
    report: Report,
) -> dict[str, list[SensitivityPoint]]:
    """The points by layer; what comes to the same masks is played once."""
    total = len({(cut.layer, cut.ratio) for cut in planned})
    played: dict[tuple[str, float], Return] = {}
    points: dict[str, list[SensitivityPoint]] = {}
    for cut in planned:
        key = (cut.layer, cut.ratio)
        if key not in played:
            report(len(played), total)
            settings = experiment.evaluation
            played[key] = _play(evaluator, cut, settings.seed, settings.episodes)
        returned = played[key]
        points.setdefault(cut.layer, []).append(
            SensitivityPoint(
                asked=cut.asked,
                ratio=cut.ratio,
                retention=scale.retention(returned.value),
                returned=returned,
            )
        )
    report(total, total)
    return points


def _dense_policy(
    algorithm: Algorithm, evaluator: Evaluator, granularity: str, criterion: str, seed: int
) -> DensePolicy:
    """The policy that an algorithm has, with what the criterion needs to know of it."""
    evaluator.load(learner.module_state(algorithm), runner_state(algorithm))
    units = GRANULARITIES[granularity].structured
    return DensePolicy(
        evaluator,
        learner.one(algorithm, lambda held: learner.networks_of(held, units=units)),
        learner.weights(algorithm),
        _evidence(algorithm, criterion, seed),
    )


def _answers(known: SensitivityRecord, experiment: Experiment, baseline: BaselineRecord) -> bool:
    """Whether a record that was read is of the same policy, measured in the same way."""
    return (
        known.baseline == baseline.key
        and known.layers == experiment.pruning.layers
        and known.seed == experiment.search.seed
        and known.episodes == experiment.evaluation.episodes
    )


@torch.no_grad()
def _play(evaluator: Evaluator, cut: Cut, seed: int, episodes: int) -> Return:
    """The return with some of the evaluator's weights masked; they are as before afterwards."""
    held = evaluator.named_parameters()
    assert cut.layer in held, f"{cut.layer} is not in the network that acts"
    # Units of a shared encoder have readers in the critic, which the evaluator has not.
    masks = {name: mask for name, mask in cut.masks.items() if name in held}
    dense = {name: held[name].detach().clone() for name in masks}
    try:
        for name, mask in masks.items():
            held[name].masked_fill_(~mask.to(held[name].device), 0.0)
        returned = evaluator.measure(seed, episodes)
    finally:
        for name, value in dense.items():
            held[name].copy_(value)
    if not all(map(math.isfinite, returned.each)):
        raise TrialError(f"the return with {cut.layer} pruned is {returned.mean}")
    return returned


def _evidence(algorithm: Algorithm, criterion: str, seed: int) -> Statistics:
    """What the criterion needs to know, from the algorithm's own batches, its weights held."""
    needs = find_criterion(criterion).needs
    if not needs:
        return {}
    learner.attach(algorithm, needs)
    reseed(algorithm, seed)
    with learner.frozen(algorithm):
        for _ in range(_MOST_LOOKS):
            train(algorithm)
            found: Statistics | None = learner.evidence(algorithm)
            if found is not None:
                return found
    raise TrialError(f"criterion {criterion} has seen no batch in {_MOST_LOOKS} iterations")
