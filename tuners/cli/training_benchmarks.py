"""Commands that measure sampling and updating: ours beside RLlib's, on small tasks."""

from __future__ import annotations

from typing import Annotated

import typer

from prune_search.errors import check_known
from tuners.cli._app import benchmarks, err, out
from tuners.cli.benchmarks import Pairs


@benchmarks.command("sampling")
def benchmark_sampling(
    pairs: Pairs = 20,
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be repeated.  [default: all]")
    ] = None,
) -> None:
    """Time of RLlib's env runner over that of the lean one: sampling alone, and whole iterations.

    Both train the same task in turn, in one process.
    """
    from tuners.benchmarks.sampling import TASKS, gain

    for name in task or ():
        check_known("--task", name, TASKS)
    for name in task or TASKS:
        found = gain(TASKS[name], pairs)
        out.print(
            f"{name}: RLlib / lean: sampling {found.sampling}, iteration {found.iteration};"
            f" {pairs} pairs",
            highlight=False,
            soft_wrap=True,
        )


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
    from tuners.benchmarks.learning import compare
    from tuners.benchmarks.sampling import TASKS

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
