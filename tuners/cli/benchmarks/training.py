"""Commands that measure what training, evaluating and pruning cost, in pairs of times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from prune_search.errors import check_known
from prune_search.experiment import file as experiment_file
from prune_search.plan.axes import names as names_of
from tuners.cli._app import Overrides, Preset, Trust, benchmarks, err, out

Pairs = Annotated[int, typer.Option(min=1, help="Pairs of measurements.")]


@benchmarks.command("masks")
def benchmark_masks(
    pairs: Pairs = 20,
    preset: Preset = "cartpole",
    granularity: Annotated[
        str, typer.Option(help="weight, neuron, filter, 2:4 or 1:4.")
    ] = "weight",
    trust: Trust = False,
) -> None:
    """Time of an RLlib iteration with masks enforced, against one without, in one process."""
    from tuners.benchmarks.training.masks import masks_overhead

    check_known("--granularity", granularity, names_of("granularity"))
    settings = experiment_file.load(preset, trust=trust)
    result = masks_overhead(settings, pairs, granularity)
    print(f"iteration with {granularity} masks / without: {result}, {pairs} pairs")


@benchmarks.command("removal")
def benchmark_removal(
    pairs: Pairs = 20,
    preset: Preset = "cartpole",
    hidden: Annotated[int, typer.Option(min=16, help="Units of each of two layers.")] = 1024,
    trust: Trust = False,
) -> None:
    """Time of a learner update with 90 % of the parameters removed, against the dense one's."""
    from tuners.benchmarks.training.masks import removal_speed

    layers = f"algorithm.model.fcnet_hiddens=[{hidden}, {hidden}]"
    settings = experiment_file.load(preset, [layers], trust)
    result = removal_speed(settings, pairs)
    print(f"learner update, {hidden}x{hidden}, after removal / dense: {result}, {pairs} pairs")


@benchmarks.command("efficiency")
def benchmark_efficiency(
    preset: Preset = "cartpole",
    hidden: Annotated[
        list[int] | None,
        typer.Option(
            min=16, help="Units of both layers; may be repeated.  [default: 64, 256, 1024]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each.")] = 5,
    env_steps: Annotated[int, typer.Option(min=20, help="Of each training, at most.")] = 60_000,
    storage: Annotated[
        Path, typer.Option(help="Folder of its studies; what is finished there is not run again.")
    ] = Path("benchmark"),
) -> None:
    """What training costs that prunes on its way, against dense training, to the same return."""
    from tuners.benchmarks.efficiency import efficiency, markdown

    widths = hidden or [64, 256, 1024]
    print(markdown(efficiency(preset, widths, seeds, env_steps, storage, err.print)))


@benchmarks.command("evaluation")
def benchmark_evaluation(
    pairs: Pairs = 20,
    preset: Preset = "cartpole",
    env_steps: Annotated[
        int, typer.Option(min=0, help="Env steps that the policy is trained for first.")
    ] = 20_000,
    overrides: Overrides = None,
    trust: Trust = False,
) -> None:
    """Time of an evaluation by the lean loop, against RLlib's env runner, in one process."""
    from tuners.benchmarks.training.evaluation import evaluation_gain

    settings = experiment_file.load(preset, overrides or [], trust)
    result = evaluation_gain(settings, pairs, env_steps)
    name = f"evaluation of {settings.evaluation.episodes} episodes"
    print(f"{name}, lean / RLlib's env runner: {result}, {pairs} pairs")


@benchmarks.command("large")
def benchmark_large(
    pairs: Pairs = 5,
    weights: Annotated[int, typer.Option(min=16, help="Weights that are cut.")] = 50_000_000,
    width: Annotated[
        int, typer.Option(min=8, help="Units of each of three layers whose units are looked for.")
    ] = 4096,
) -> None:
    """Cuts over large networks, against a plain k-th value; units of wide ones, against narrow."""
    from tuners.benchmarks.training.large_networks import cuts, unit_finding

    for name, result in cuts(weights, pairs).items():
        print(f"cut of {weights:,} weights, {name} / torch's k-th value: {result}, {pairs} pairs")
    result = unit_finding(width, pairs)
    print(f"units found, layers of {width} / of {width // 8}: {result}, {pairs} pairs")


@benchmarks.command("sampling")
def benchmark_sampling(
    pairs: Pairs = 20,
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be repeated.  [default: all]")
    ] = None,
    shares: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="ITERATIONS",
            help="Instead, print what each part takes of so many iterations, as Markdown.",
        ),
    ] = 0,
) -> None:
    """Time of RLlib's env runner over that of the lean one: sampling alone, and whole iterations.

    Both train the same task in turn, in one process.
    """
    from tuners.benchmarks.training.sampling import TASKS, gain

    for name in task or ():
        check_known("--task", name, TASKS)
    if shares:
        _print_shares(task or list(TASKS), shares)
        return
    for name in task or TASKS:
        found = gain(TASKS[name], pairs)
        out.print(
            f"{name}: RLlib / lean: sampling {found.sampling}, iteration {found.iteration};"
            f" {pairs} pairs",
            highlight=False,
            soft_wrap=True,
        )


def _print_shares(tasks: Sequence[str], iterations: int) -> None:
    """A column for each task, a row for each part."""
    from tuners.benchmarks.training.sampling import TASKS
    from tuners.benchmarks.training.shares import REST, shares

    found = {name: shares(TASKS[name], iterations) for name in tasks}
    parts = dict.fromkeys(part for one in found.values() for part in one.parts if part != REST)
    rows = [
        ["part", *found],
        ["---"] * (len(found) + 1),
        *(
            [part, *(f"{100 * one.parts.get(part, 0):.0f}" for one in found.values())]
            for part in (*parts, REST)
        ),
        ["looks at the stack", *(f"{one.looks:,}" for one in found.values())],
    ]
    for row in rows:
        print(f"| {' | '.join(row)} |")


@benchmarks.command("learning")
def benchmark_learning(
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this task; may be repeated.  [default: cartpole-, acrobot- and"
            " lunarlander-ppo]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each task with each.")] = 10,
    env_steps: Annotated[
        int, typer.Option(min=0, help="Env steps of a training; 0 for the preset's baseline.")
    ] = 0,
) -> None:
    """Returns with RLlib's env runner and update, and with the lean ones, at equal env steps.

    Ends with status 1 if one lies outside the other's 95 % interval.
    """
    from tuners.benchmarks.training.learning import compare
    from tuners.benchmarks.training.sampling import TASKS

    chosen = task or ["cartpole-ppo", "acrobot-ppo", "lunarlander-ppo"]
    for name in chosen:
        check_known("--task", name, TASKS)
    different = False
    for name in chosen:
        for found in compare(TASKS[name], seeds, env_steps, err.print):
            different |= not found.same
            verdict = "identical" if found.identical else "same" if found.same else "different"
            out.print(
                f"{name}, {found.env_steps:,} env steps: IQM with RLlib's {found.stock}, with"
                f" ours {found.ours}: {verdict}",
                highlight=False,
                soft_wrap=True,
            )
    if different:
        raise typer.Exit(1)
