"""What the benchmark of the search measured, as a page."""

from __future__ import annotations

import shlex
from pathlib import PurePath

import numpy as np

from tuners.benchmarks.search.arms import DEFAULT
from tuners.benchmarks.search.comparison import Result
from tuners.words import count, paragraph

_WIDE = 96  # of a line of a command


def page(result: Result, picture: PurePath) -> str:
    """A page of one task: how it was measured, a table, and the picture.

    Args:
        result: of all searches.
        picture: of their curves, as the page links it.
    """
    names = [DEFAULT, *result.others]
    seeds = len(result.arm(DEFAULT))
    anew = any(one.anew for one in result.outcomes)
    ran_on = any(one.stopped is not None for one in result.outcomes)
    columns = [
        "search", "trials", "log-hypervolume [quartiles]", "hypervolume",
        "env steps of the default / its own [95 %]", "with the baseline's",
        *(["anew", "default ahead [95 %]"] if anew else []),
        *(["wrong stops"] if ran_on else []),
    ]  # fmt: skip
    told = (
        f"{count(seeds, 'seed')} of each search, a study of {result.env_steps:,} env steps each,"
        f" beside the dense policy's {result.baseline_env_steps:,}. Medians over studies, on"
        " env seeds that no search saw. Env steps are those in which the default has the"
        " log-hypervolume that the other ends with: the median over all pairs of studies; in"
        " brackets its 95 % bootstrap interval."
    )
    if anew:
        told += (
            " Anew is the log-hypervolume of each front's plans with other training seeds; by how"
            " much the default is ahead in that has Welch's 95 % interval over studies."
        )
    if ran_on:
        told += (
            " Trials that were stopped early were run on: wrong ones would still have improved the"
            " front by the least that counts (`search.stopping.gain`)."
        )
    return "\n".join(
        [
            f"# Searches on {result.environment}",
            "",
            "```bash",
            *_broken(result.command),
            "```",
            "",
            paragraph(told),
            f"| {' | '.join(columns)} |",
            f"|---|{'---|' * (len(columns) - 1)}",
            *(_row(result, name, anew, ran_on) for name in names),
            "",
            f"![Hypervolume over env steps]({picture})",
            "",
        ]
    )


def _row(result: Result, name: str, anew: bool, ran_on: bool) -> str:
    arm = result.arm(name)
    low, middle, high = np.quantile([one.final_log_hypervolume for one in arm], [0.25, 0.5, 0.75])
    rival = name != DEFAULT
    counted = result.ratio(name, with_baseline=True, logarithmic=True) if rival else None
    cells = [
        f"`{name}`",
        f"{np.median([one.trials for one in arm]):.0f}",
        f"{middle:.3f} [{low:.3f}, {high:.3f}]",
        f"{np.median([one.final_hypervolume for one in arm]):.3f}",
        result.ratio(name, logarithmic=True).brief if rival else "",
        f"{counted.median:.2f}" if counted else "",
    ]
    if anew:
        again = result.anew(name)
        ahead = result.ahead(name) if rival else None
        cells += [f"{np.median(again):.3f}" if again else "", str(ahead) if ahead else ""]
    if ran_on:
        stops = result.stops(name)
        cells += [f"{stops.wrong} of {stops.stopped}" if stops else ""]
    return f"| {' | '.join(cells)} |"


def _broken(command: str) -> list[str]:
    """A command over several lines, an option at the beginning of each."""
    options = [""]
    for word in shlex.split(command):
        quoted = shlex.quote(word)
        if word.startswith("--"):
            options.append(quoted)
        else:
            options[-1] = f"{options[-1]} {quoted}".lstrip()
    lines = [options[0]]
    for option in options[1:]:
        if len(lines[-1]) + len(option) > _WIDE:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {option}"
    return lines
