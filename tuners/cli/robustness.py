"""The command that asks whether a pruned policy bears a harder task."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prune_search.storage.usual import STUDIES
from tuners.cli._app import (
    Storage,
    Trust,
    app,
    check_writable,
    complete_name,
    err,
    examples,
    opened,
    out,
    writing,
)

if TYPE_CHECKING:
    from rich.table import Table

    from tuners.study.robustness import Borne

USUAL = ("noise=0.1", "noise=0.3", "sticky=0.25", "delay=1")


@app.command(
    epilog=examples(
        "prune-search robustness cartpole",
        "prune-search robustness seed-0 seed-1 --under noise=0.2 --under physics.gravity=1.3",
    )
)
def robustness(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Studies; several, of one task, are put together as well.",
            autocompletion=complete_name,
        ),
    ],
    under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANGES",
            help="What is done to the task, see `evaluate --under`; may be repeated."
            f" {', '.join(USUAL)} if absent.",
            show_default=False,
        ),
    ] = None,
    min_retention: Annotated[
        float | None,
        typer.Option(min=0, help="Of the point, as `export`; the search's if absent."),
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, max=100_000, help="Of each measurement.")] = 100,
    seed: Annotated[int, typer.Option(min=0, max=9_999, help="Evaluation seed.")] = 2,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all figures as JSON.")
    ] = None,
    trust: Trust = False,
    storage: Storage = STUDIES,
) -> None:
    """Measure the dense policy and the sparsest that holds, on the task as it is and made harder.

    The same episodes for both, on seeds that the search has not seen.
    """
    check_writable("--to", to)
    from tuners.study.handle import Study
    from tuners.study.robustness import borne, over_studies

    studies = [Study(*opened(storage, name, trust)) for name in dict.fromkeys(names)]
    found = borne(
        studies,
        under or USUAL,
        min_retention=min_retention,
        episodes=episodes,
        seed=seed,
        say=lambda text: err.print(text, highlight=False, markup=False, soft_wrap=True),
    )
    out.print(_table(found))
    together = over_studies(found) if len(studies) > 1 else []
    if together:
        out.print(_together(together))
    if to is not None:
        text = json.dumps(
            {
                "environment": studies[0].experiment.environment.id,
                "episodes": episodes,
                "seed": seed,
                "studies": [_as_json(one) for one in found],
                "over_studies": [asdict(row) for row in together],
            },
            indent=1,
        )
        with writing("--to", to):
            to.write_text(text + "\n", encoding="utf-8")


def _as_json(one: Borne) -> dict[str, Any]:
    policies = {"dense": one.dense, "pruned": one.pruned, "control": one.control}
    returns = {
        name: {"return": value.value, "low": value.low, "high": value.high, "worst": value.worst}
        for name, value in policies.items()
        if value is not None
    }
    return {
        "study": one.study,
        "point": one.point,
        "sparsity": one.sparsity,
        "under": one.under,
        "random": one.random.value,
        **returns,
        "retention": one.retention,
        "verdict": one.verdict,
        "idle": one.idle,
    }


def _table(found: list[Borne]) -> Table:
    from rich.table import Table

    table = Table("study", "under", "dense", "pruned", "retention", "than dense")
    for one in found:
        dense, pruned = (
            f"{value.value:.1f} \\[{value.low:.1f}, {value.high:.1f}]"
            for value in (one.dense, one.pruned)
        )
        first = not one.under
        name = f"{one.study} {one.point} ({one.sparsity:.1%})" if first else ""
        verdict = {"undecided": "as good, as far as the episodes tell"}.get(
            one.verdict, one.verdict
        )
        if one.idle:
            verdict = "the change does nothing here"
        table.add_row(
            name, one.under or "no change", dense, pruned, f"{one.retention:.1%}", verdict
        )
    return table


def _together(rows: Any) -> Table:
    from rich.table import Table

    table = Table("under", "studies", "dense policies", "dense", "pruned", "pruned − dense, 95 %")
    for row in rows:
        table.add_row(
            row.under or "no change",
            str(row.studies),
            str(row.baselines),
            f"{row.dense:.1f}",
            f"{row.pruned:.1f}",
            f"{row.difference:+.1f} \\[{row.low:+.1f}, {row.high:+.1f}]",
        )
    return table
