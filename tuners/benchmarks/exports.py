"""Which policies go where: each algorithm, network, filter and kind of action, to each target."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from prune_search.artifacts.base import Material, Target
from prune_search.artifacts.card import card_for
from prune_search.errors import UserError
from prune_search.export.describing import describe
from prune_search.export.measuring import CONTINUOUS, DISCRETE, agreement, measure
from prune_search.export.recording import Recorded, recorded
from prune_search.export.targets import TARGETS
from prune_search.records.returns import Return
from prune_search.rllib.configuration.algorithms import ALGORITHMS
from prune_search.rllib.running import process_settings
from tuners.benchmarks.methods.setups import (
    SETUPS,
    Setup,
    small_config,
    small_experiment,
)
from tuners.benchmarks.untrained import filtered, saved

SHOWN = ("torch", "onnx", "c", "web", "onnx-int8", "c-int8", "packed")
_ROUNDED = ("onnx-int8", "c-int8", "packed")
_EPISODES = 20
_CALIBRATION = 500

_HEAD = f"""# Which policies go where

Small policies of RLlib's default networks, untrained, half of their weights zero, from each
algorithm to each target: what `prune-search export` wrote was opened, and its actions compared with
RLlib's own for {{count:,}} observations of RLlib's policy. A cell of discrete actions is the share
that was equal, of continuous ones the largest difference, relative to an action's size. ✗ is a
cell where float32 does not agree (discrete actions in {DISCRETE:.1%}, continuous ones within
{CONTINUOUS:.0e}), or where the file returned less than the interval of RLlib's own return over
{_EPISODES} episodes, measured as target `rllib`. `onnx-int8`, `c-int8` and `packed` round by
design, and these policies were not trained for it: ↓ is a cell that `export` would refuse for its
return.

Vectors are read by fully connected networks, images by convolutions; `filter` is RLlib's mean-std
filter in front. DQN has discrete actions alone, CQL and IQL continuous ones.

This page is written by `prune-search benchmark exports --to docs/exports.md`; what is measured is
said in [exporting](exporting.md).
"""


class Case(NamedTuple):
    """A policy that is exported to all targets."""

    algorithm: str
    policy: str
    """What it is, in words."""
    discrete: bool
    make: Callable[[], AlgorithmConfig]


class Cell(NamedTuple):
    """What became of it in one target."""

    case: Case
    target: str
    text: str
    """The figure, or why it was refused."""
    refused: bool
    wrong: bool


def cases(algorithms: Iterable[str] = ALGORITHMS) -> list[Case]:
    """All that are tried, of the algorithms that are named."""
    chosen = [setup for setup in SETUPS if setup.algorithm in set(algorithms)]
    found: list[Case] = []
    for setup in chosen:
        for with_filter in (False, True):
            words = f"{setup.network}s, {setup.actions}{', filter' * with_filter}"
            found.append(Case(setup.algorithm, words, *_made(setup, with_filter)))
    return found


def run(chosen: Sequence[Case], observations: int) -> Iterator[Cell]:
    """Fills cells: each as it gets ready.

    Args:
        chosen: what is exported.
        observations: for how many actions are compared.
    """
    with ray.init(
        address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR"
    ):  # offline algorithms ask for one
        process_settings(1)
        for case in chosen:
            yield from _cells(case, observations)


def markdown(cells: Iterable[Cell], observations: int) -> str:
    """The page."""
    found = list(cells)
    lines = [
        _HEAD.format(count=observations),
        f"| algorithm | policy | {' | '.join(SHOWN)} |",
        f"|---|---|{'---:|' * len(SHOWN)}",
    ]
    refusals: dict[str, None] = {}
    for case, row in groupby(found, key=lambda cell: cell.case):
        texts = []
        for cell in row:
            if cell.refused:
                refusals[cell.text] = None
            mark = "✗ " * cell.wrong
            texts.append("refused" if cell.refused else f"{mark}{cell.text}")
        lines.append(f"| {case.algorithm} | {case.policy} | {' | '.join(texts)} |")
    if refusals:
        lines += ["", "Refused, in these words:", "", *(f"- {text}" for text in refusals)]
    return "\n".join(lines) + "\n"


def _made(setup: Setup, with_filter: bool) -> tuple[bool, Callable[[], AlgorithmConfig]]:
    def make() -> AlgorithmConfig:
        config = small_config(small_experiment(setup))
        return filtered(config) if with_filter else config

    return setup.actions == "discrete", make


def _cells(case: Case, observations: int) -> Iterator[Cell]:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = saved(case.make(), Path(folder, "algorithm"))
        found = describe(checkpoint)
        policy, around = found.policy, found.surroundings
        seen = recorded(checkpoint, around, observations)
        card = card_for(
            policy, version=version("prune-search"), target="", name=str(case), task=around.task
        )
        material = Material(policy, card, seen.observations[:_CALIBRATION], checkpoint)
        stock = _returned(TARGETS["rllib"], material, Path(folder, "own"))
        for target in SHOWN:
            path = Path(folder, target).with_suffix(TARGETS[target].suffix)
            yield _cell(case, target, material, path, seen, stock)


def _cell(
    case: Case, name: str, material: Material, path: Path, seen: Recorded, stock: Return
) -> Cell:
    try:
        returned = _returned(TARGETS[name], material, path)
    except UserError as error:
        return Cell(case, name, str(error).removeprefix("export: "), True, False)
    agreed = agreement(TARGETS[name].open(path), seen, material.policy)
    text = f"{agreed.equal:.2%}" if case.discrete else f"{agreed.difference:.1e}"
    lost = returned.value < stock.low
    if name in _ROUNDED:
        return Cell(case, name, f"{text} ↓" if lost else text, False, False)
    return Cell(case, name, text, False, lost or not agreed.holds(case.discrete))


def _returned(target: Target, material: Material, path: Path) -> Return:
    """The return of the policy, written to a target."""
    target.write(material, path)
    task = material.card.task
    assert task is not None
    return measure(
        target.open(path), task, seed=0, episodes=_EPISODES, max_steps=1000, aggregate="mean"
    )
