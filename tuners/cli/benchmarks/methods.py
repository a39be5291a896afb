"""Commands that measure methods, and the files that policies become."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prune_search.errors import check_known
from prune_search.plan.axes import names as names_of
from tuners.cli._app import Address, Preset, benchmarks, check_writable, err, print_or_write

_Table = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table, as Markdown.")]
_Algorithms = Annotated[
    list[str] | None, typer.Option(help="Only this algorithm; may be repeated.")
]


@benchmarks.command("methods")
def benchmark_methods(
    to: _Table = None,
    algorithm: _Algorithms = None,
    granularity: Annotated[
        list[str] | None, typer.Option(help="Only this granularity; may be repeated.")
    ] = None,
    address: Address = None,
) -> None:
    """Run every method on every algorithm, kind of action and observation, and check it.

    Each is run for some updates on a small network; half an hour in all on two cores. With --to,
    cells are kept beside the page as they get ready, and the same command goes on after an
    interruption. Ends with status 1 if anything did not hold.
    """
    check_writable("--to", to)
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from prune_search.experiment.schema import Resources
    from prune_search.rllib.configuration.algorithms import ALGORITHMS
    from tuners.benchmarks.methods.methods import jobs
    from tuners.benchmarks.methods.run import run
    from tuners.benchmarks.methods.table import markdown
    from tuners.study.cluster import connection

    names, granularities = algorithm or list(ALGORITHMS), granularity or names_of("granularity")
    for field, given, known in (
        ("--algorithm", names, ALGORITHMS),
        ("--granularity", granularities, names_of("granularity")),
    ):
        for value in given:
            check_known(field, value, known)
    chosen = [
        job
        for job in jobs()
        if job.setup.algorithm in names and job.method.granularity in granularities
    ]
    kept = None if to is None else to.with_name(f".{to.name}.cells")
    cells, failed = [], 0
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with connection(Resources(address=address)), Progress(*columns, console=err) as progress:
        task = progress.add_task("cells", total=len(chosen))
        for cell in run(chosen, kept):
            cells.append(cell)
            failed += bool(cell.problems)
            done = f"{cell.setup.algorithm} {cell.method.granularity}, {failed} failed"
            progress.update(task, advance=1, description=done)
            if not err.is_terminal and len(cells) % 50 == 0:
                err.print(f"{len(cells)} of {len(chosen)} cells: {done}")
    print_or_write(markdown(cells, chosen), to)
    if kept is not None:
        kept.unlink(missing_ok=True)
    if failed:
        raise typer.Exit(1)


@benchmarks.command("deep-compression")
def benchmark_deep_compression(
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0 on.")] = 3,
    sparsity: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Share of the weights to prune.")
    ] = 0.98,
    bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a shared weight.")] = 4,
) -> None:
    """LeNet-300-100 pruned, shared and coded, each stage measured; a Markdown table."""
    import torch

    from tuners.benchmarks.deep_compression import deep_compression, markdown

    torch.set_num_threads(1)
    print(markdown(deep_compression(range(seeds), err.print, sparsity, bits), sparsity, bits))


@benchmarks.command("exports")
def benchmark_exports(
    to: _Table = None,
    algorithm: _Algorithms = None,
    observations: Annotated[
        int, typer.Option(min=1, help="For how many actions are compared.")
    ] = 10_000,
) -> None:
    """Export a policy of every algorithm, network and kind of action to every target.

    A quarter of an hour on a quiet core. Ends with status 1 if anything did not agree with RLlib.
    """
    check_writable("--to", to)
    from prune_search.rllib.configuration.algorithms import ALGORITHMS
    from tuners.benchmarks.exports import cases, markdown, run

    names = algorithm or list(ALGORITHMS)
    for name in names:
        check_known("--algorithm", name, ALGORITHMS)
    cells = []
    for cell in run(cases(names), observations):
        cells.append(cell)
        err.print(f"{cell.case.algorithm} {cell.case.policy}, {cell.target}: {cell.text}")
    print_or_write(markdown(cells, observations), to)
    if any(cell.wrong for cell in cells):
        raise typer.Exit(1)


@benchmarks.command("packed")
def benchmark_packed(
    preset: Preset = "cartpole",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0 on.")] = 3,
    ratio: Annotated[
        list[float] | None,
        typer.Option(
            min=0.5,
            max=0.9999,
            help="Share of the weights to remove; a trial each, may be repeated."
            "  [default: 0.99, 0.996]",
        ),
    ] = None,
    bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a shared weight.")] = 4,
    storage: Annotated[
        Path, typer.Option(help="Folder of its studies; what is finished there is not run again.")
    ] = Path("benchmark-packed"),
) -> None:
    """The smallest packed file of a 256 x 256 policy that keeps its return; a Markdown table."""
    from tuners.benchmarks.packed import markdown, smallest_packed

    ratios = ratio or [0.99, 0.996]
    print(markdown(preset, smallest_packed(preset, range(seeds), ratios, bits, storage, err.print)))
