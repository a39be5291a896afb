"""Optuna's samplers by name, with the options that an experiment file gives."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from prune_search.errors import UserError, check_known, one_line
from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from prune_search.experiment.search_section import AUTO, Search
from prune_search.plan.plan import Plan
from prune_search.records.models import BaselineRecord, TrialRecord
from prune_search.registry import Registry
from tuners.search.beginnings import grid
from tuners.search.curves.sampler import CurveSampler
from tuners.search.space import Asked, Space
from tuners.search.usual import CURVES, TPE, sampler_of

GRID = "grid"


class Sampler(NamedTuple):
    """One of Optuna's samplers, or of their interface."""

    kind: Callable[..., BaseSampler]
    """Takes `seed`, `space` and `trials` if it wants them, and options of its own."""
    usual: Mapping[str, Any]
    """Options where a file gives no others."""


SAMPLERS: Registry[Sampler] = Registry("sampler")


def register_sampler(name: str, kind: Callable[..., BaseSampler], **usual: Any) -> None:
    """Registers a sampler under a name for `search.sampler`.

    Args:
        name: the name.
        kind: its class; takes `seed` among its options and, where it wants to know more than
            Optuna's trials do, `space`, which makes a plan of what it asks for, `trials`, which
            gives the records of the study's trials with all their rounds, and `baseline`, the
            record of the study's dense policy. Its `refusal`, if it has one, says of a search what
            it would pass over, or None.
        usual: options where a file gives no others.

    Raises:
        ValueError: the name is taken.
    """
    SAMPLERS.add(name, Sampler(kind, usual))


register_sampler(
    TPE, TPESampler, multivariate=True, group=True, constant_liar=True, n_startup_trials=4
)
register_sampler(CURVES, CurveSampler)
register_sampler("gp", GPSampler)
register_sampler("nsga2", NSGAIISampler)
register_sampler("random", RandomSampler)
register_sampler(GRID, RandomSampler)  # its trials are enqueued, parameter by parameter
SAMPLERS.close()

_TRIED = 12  # of TPE the first four are random
_OURS = ("self", "seed", "constraints_func", "space", "trials", "baseline", "pruning")


def sampler(
    search: Search,
    number: int,
    space: Callable[[Asked], Plan],
    trials: Callable[[], Sequence[TrialRecord]],
    baseline: BaselineRecord | None = None,
    pruning: Pruning | None = None,
) -> BaseSampler:
    """The sampler for the trial of this number.

    Each trial has random numbers of its own, so that a suggestion depends on the seed, its number
    and the results that are there when it is asked for, and not on how often the driver was
    started. With one trial at a time these are the same in every run; with several, what has ended
    by then is a matter of timing, and suggestions differ.

    Args:
        search: the experiment's.
        number: of the trial.
        space: makes a plan of what it asks for.
        trials: gives what the study's trials have measured so far.
        baseline: the study's.
        pruning: the experiment's.
    """
    kind, usual = SAMPLERS.find(sampler_of(search))
    seed = (search.seed * 1_000_003 + number) % 2**32
    wanted = inspect.signature(kind).parameters
    given = {
        **{"space": space, "trials": trials, "baseline": baseline, "pruning": pruning},
        "thaw": search.scheduler is None,  # what Tune's has stopped it would stop again
    }
    more = {name: value for name, value in given.items() if name in wanted}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind(seed=seed, **{**more, **usual, **search.sampler_options})


def check_sampler(experiment: Experiment) -> None:
    """Tries the sampler's options out, on trials that are nowhere kept.

    Raises:
        UserError: there is no such sampler; it has no such option, or can't work with its value; it
            would pass over what the search asks for; a grid is asked for what is a range.
    """
    search = experiment.search
    check_known("search.sampler", search.sampler, [AUTO, *SAMPLERS])
    if search.sampler == GRID:
        try:
            list(islice(grid(experiment.pruning), search.trials))
        except ValueError as error:
            raise UserError(f"search.sampler: {error}") from None
    kind, _ = SAMPLERS[sampler_of(search)]
    refusal = getattr(kind, "refusal", lambda _: None)(search)
    if refusal:
        raise UserError(refusal)
    known = [name for name in inspect.signature(kind).parameters if name not in _OURS]
    for name in search.sampler_options:
        check_known(f"search.sampler_options of {search.sampler}", name, known)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        space = Space(experiment.pruning)
        study = optuna.create_study(directions=["maximize"] * len(search.objectives))
        for number in range(_TRIED):
            study.sampler = sampler(search, number, space, list)
            trial = study.ask()
            space(trial)
            study.tell(trial, [float(number)] * len(search.objectives))
    except Exception as error:  # whatever Optuna makes of a value
        options = search.sampler_options
        raise UserError(f"search.sampler_options: {options}: {one_line(error)}") from None
