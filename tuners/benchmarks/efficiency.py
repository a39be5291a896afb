"""What training costs that prunes on its way, against dense training, until the same return."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment
from prune_search.records.models import TrialRecord
from tuners.benchmarks.search.studies import finished, only
from tuners.benchmarks.tasks.methods import Method, follows, listed

RATIO = 0.9
_ROUNDS = 20
_DENSE = "dense"
_PRUNED: dict[str, dict[str, Any]] = {
    _DENSE: {"granularity": "weight", "schedule": "one_shot", "start": 0.0, "ratio": 0.0},
    "neurons taken out": {"granularity": "neuron", "schedule": "cubic", "start": 0.1, "end": 0.5},
    "weights masked": {"granularity": "weight", "schedule": "cubic", "start": 0.1, "end": 0.5},
}


@dataclass(frozen=True)
class Cost:
    """Of one training, or of its part until a return was reached."""

    env_steps: int
    seconds: float
    """Of RLlib's training, by the clock, beside as many others for each way."""
    macs: float
    """Of the acting network: one action's, zeros among them, times env steps."""


@dataclass(frozen=True)
class Way:
    """One way to train, over its seeds."""

    hidden: int
    name: str
    whole: list[Cost]
    """One for each seed, of all env steps."""
    reached: list[Cost | None]
    """Until the return was reached; None where it was not."""
    late: float
    """Mean return of the last quarter of the evaluations, over all seeds."""
    parameters: float
    """Of the acting network in the end, zeros left out."""


def efficiency(
    preset: str,
    hidden: Sequence[int],
    seeds: int,
    env_steps: int,
    storage: Path,
    say: Callable[[str], None],
) -> list[Way]:
    """Trains from new weights, dense and pruned, and looks when each first holds the return.

    The return is `search.retention` of the gain of the baseline, a dense network of the same width.

    Args:
        preset: preset or experiment file; its network is one with two hidden layers.
        hidden: widths of both layers, each a study of its own.
        seeds: trainings of each way, 2 or more.
        env_steps: of each at most; there are 20 evaluations in it.
        storage: folder of the studies; what is finished there is not run again.
        say: is told of what begins.

    Raises:
        UserError: a training failed.
    """
    found = []
    for width in hidden:
        experiment, ways = _experiment(preset, width, seeds, env_steps, storage)
        name = f"efficiency-{Path(preset).stem}-{width}-{seeds}"
        say(f"{name}: {len(ways)} ways, {seeds} trainings of each")
        folder = finished(experiment, name, quiet=False)
        record = folder.study()
        assert record is not None and record.baseline is not None
        enough = record.baseline.return_at(experiment.search.retention)
        for way in ways:
            trials = [trial for trial in folder.trials() if follows(trial.plan, way)]
            if sum(trial.state == "complete" for trial in trials) < seeds:
                raise UserError(f"study {name!r}: a training of {way.name!r} did not end")
            found.append(_way(width, way.name, trials, enough))
    return found


def _way(hidden: int, name: str, trials: Sequence[TrialRecord], enough: float) -> Way:
    late = [
        point.returned.value
        for trial in trials
        for point in trial.points[-len(trial.points) // 4 :]
    ]
    never = [cost(trial, math.inf) for trial in trials]
    return Way(
        hidden,
        name,
        [whole for whole, _ in never],
        [until if held else None for until, held in (cost(trial, enough) for trial in trials)],
        float(np.mean(late)),
        float(np.mean([trial.points[-1].nonzero for trial in trials])),
    )


def cost(trial: TrialRecord, enough: float) -> tuple[Cost, bool]:
    """What a trial has taken until it first returned so much, and whether it did."""
    seconds = macs = 0.0
    before = 0
    for point in trial.points:
        seconds += point.train_s
        macs += (point.macs or 0) * (point.env_steps - before)
        before = point.env_steps
        if point.returned.value >= enough:
            return Cost(before, seconds, macs), True
    return Cost(before, seconds, macs), False


def markdown(ways: Sequence[Way]) -> str:
    """A row for each way: medians over seeds, and their ratios to dense training's."""
    lines = [
        "| hidden layers | training | non-zero in the end | return, last quarter | seconds / dense"
        " | multiply-accumulates / dense | reached the return | env steps until then"
        " | multiply-accumulates until then / dense |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for way in ways:
        (dense,) = (one for one in ways if one.hidden == way.hidden and one.name == _DENSE)
        ours, theirs = _medians(way.whole), _medians(dense.whole)
        reached = [one for one in way.reached if one is not None]
        theirs_reached = [one for one in dense.reached if one is not None]
        until = f"{_medians(reached).env_steps:,}" if reached else ""
        macs = ""
        if reached and theirs_reached:
            macs = _ratio(_medians(reached).macs, _medians(theirs_reached).macs)
        cells = [
            f"{way.hidden} x {way.hidden}",
            way.name,
            f"{way.parameters:,.0f}",
            f"{way.late:.1f}",
            _ratio(ours.seconds, theirs.seconds),
            _ratio(ours.macs, theirs.macs),
            f"{len(reached)} of {len(way.reached)}",
            until,
            macs,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(ours: float, theirs: float) -> str:
    """Empty where it can't be counted, as of a network of the user's own."""
    return f"{ours / theirs:.2f}" if theirs else ""


def _medians(costs: Sequence[Cost]) -> Cost:
    return Cost(
        round(float(np.median([one.env_steps for one in costs]))),
        float(np.median([one.seconds for one in costs])),
        float(np.median([one.macs for one in costs])),
    )


def _experiment(
    preset: str, width: int, seeds: int, env_steps: int, storage: Path
) -> tuple[Experiment, list[Method]]:
    settings = experiment_file.load(
        preset,
        [
            f"algorithm.model.fcnet_hiddens=[{width}, {width}]",
            "baseline.control=false",
            "tracking=none",
            f"storage={json.dumps(str(storage.resolve()))}",
        ],
    )
    common = {
        "origin": "scratch",
        "criterion": "magnitude",
        "scope": "both",
        "ratio": RATIO,
        "critic_ratio": RATIO,
        "allocation": "uniform",
        "regrowth": "none",
        "rewind": "none",
        "quantization": "none",
        "distillation": 0.0,
        "lr_scale": 1.0,
        "rounds": _ROUNDS,
        "env_steps": env_steps,
    }
    ways = [Method(name, "", {**common, **fields}) for name, fields in _PRUNED.items()]
    ways[0].fields["critic_ratio"] = 0.0
    pruning, first = listed(settings.pruning, ways)
    search = only(settings.search, first, seeds)
    return settings.model_copy(update={"pruning": pruning, "search": search}), ways
