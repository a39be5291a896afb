"""What the benchmark of the search compares: the default, its rivals, and what it is made of."""

from __future__ import annotations

import math
from itertools import cycle, islice
from typing import Any

from prune_search.experiment.fields import as_choices, highest, lowest
from prune_search.experiment.pruning import Pruning
from prune_search.experiment.schema import Experiment
from tuners.search.usual import CURVES, PROBES, TPE, probes_of, refused_by_curves, sampler_of

DEFAULT, PROBED_TPE = "default", "probed tpe"
ONLY_PROBES = "probes"
"""Not an arm: the first trials of one that begins with probes, after which no more is done."""
GRID = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Ratios of the grid; repeated, with other seeds, while there are env steps left."""
_NEURON = "neuron"


def arms(experiment: Experiment, seed: int, env_steps: int) -> dict[str, Experiment]:
    """The experiments that are compared: alike in task, baseline, evaluation and env steps.

    - ``default``: the file's search. Where its sampler is curves, it borrows nothing of the file's
      own environment.
    - ``unstopped``: the same, but no trial is stopped.
    - ``curves``: the sampler of that name in the default's place, without probes, if the file's is
      another. Absent where the file asks for what that sampler would pass over, constraints say.
    - ``probed tpe``: TPE after probes in the default's place, if the file's sampler is another.
    - ``probed``: probes, then random choices; no trial is stopped.
    - ``random``: random choices from the same space; no trial is stopped.
    - ``expert``: what one who knows the field would run once: iterative magnitude pruning with ERK
      from the baseline, a step of a geometric schedule and training in each round (Renda et al.
      2020; ERK as Graesser et al. 2022 have it), to the highest ratio, and again with other seeds.
    - ``expert, neurons``: the same with whole neurons, where the file searches those too: counting
      all parameters they go further, as their biases go with them.
    - ``grid``: what one would write by hand: gradual magnitude pruning (Zhu & Gupta 2017) from
      scratch, uniform over the layers, once for each of `GRID`, for as long as the baseline's
      training.

    Args:
        experiment: of the preset.
        seed: of the searches, and so of their trials.
        env_steps: of each study, without its baseline's.
    """
    search, pruning = experiment.search, experiment.pruning
    shortest = lowest(pruning.env_steps) / highest(pruning.rounds)
    search = search.model_copy(
        update={
            "seed": seed,
            "env_steps": env_steps,
            "time_s": None,
            # Env steps end the search, also where every trial is stopped after its first round.
            "trials": math.ceil(env_steps / shortest),
        }
    )
    probes, named = probes_of(search), sampler_of(search)
    search = search.model_copy(update={"sampler": named, "probes": probes})
    elsewhere = {"without": experiment.environment.id}
    curves = {"sampler": CURVES, "sampler_options": elsewhere, "first": [], "probes": 0}
    if named == CURVES:
        options = {**elsewhere, **search.sampler_options}
        search = search.model_copy(update={"sampler_options": options})
    unstopped: dict[str, Any] = {"stopping": None}
    probed = {
        **unstopped,
        **{"sampler": "random", "sampler_options": {}, "probes": probes or PROBES},
    }
    random = {**probed, "first": [], "probes": 0}

    def searched(changes: dict[str, Any]) -> Experiment:
        return experiment.model_copy(update={"search": search.model_copy(update=changes)})

    def by_hand(ratios: tuple[float, ...], **axes: Any) -> Experiment:
        rounds = int(highest(pruning.rounds))
        plan = Pruning(
            criterion="magnitude",
            scope="actor",
            layers=pruning.layers,
            ratio=list(ratios),
            rounds=rounds,
            floor=pruning.floor,
            patience=pruning.patience,
            **axes,
        )
        # As many as use the env steps even where each is given up as early as can be.
        runs = math.ceil(env_steps / axes["env_steps"] * rounds / min(pruning.patience, rounds))
        listed = [{"ratio": ratio} for ratio in islice(cycle(ratios), runs)]
        settings = search.model_copy(update={**random, "trials": runs, "first": listed})
        return experiment.model_copy(update={"pruning": plan, "search": settings})

    def expert(granularity: str) -> Experiment:
        return by_hand(
            (highest(pruning.ratio),),
            granularity=granularity,
            origin="baseline",
            allocation="erk",
            schedule="geometric",
            start=0.0,
            end=1.0,
            env_steps=int(highest(pruning.env_steps)),
        )

    others: dict[str, Experiment] = {}
    if named != CURVES and not refused_by_curves(search):
        others[CURVES] = searched(curves)
    if named != TPE:
        others[PROBED_TPE] = searched({**probed, "sampler": TPE, "stopping": search.stopping})
    experts = {"expert": expert("weight")}
    if _NEURON in as_choices(pruning.granularity):
        experts[f"expert, {_NEURON}s"] = expert(_NEURON)
    return {
        DEFAULT: searched({}),
        "unstopped": searched(unstopped),
        **others,
        "probed": searched(probed),
        "random": searched(random),
        **experts,
        "grid": by_hand(
            GRID,
            granularity="weight",
            origin="scratch",
            allocation="uniform",
            schedule="cubic",
            start=0.2,
            end=0.8,
            env_steps=experiment.baseline.env_steps,
        ),
    }
