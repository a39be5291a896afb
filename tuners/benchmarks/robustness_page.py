"""The page on robustness, of the figures that `prune-search robustness --to` has written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prune_search.records.intervals import LEVEL, differing
from tuners.words import either, paragraph

_HEAD = """# Does a pruned policy bear a harder task?

Pruning is said to help a policy generalize. The question has an answer only where both policies are
as good on the task as it was, and where both meet the same episodes. So each study's dense policy
is compared with the sparsest policy of its front that holds `search.retention`, on the task as it
is and while something is done to it that no training has seen:

```bash
prune-search robustness STUDY... --under noise=0.1 --under sticky=0.25 --to FILE.json
prune-search benchmark robustness docs/robustness-*.json --to docs/robustness.md
```

- `noise=0.1`: Gaussian noise on each component of the observation, a tenth as wide as the component
  itself varies while random actions are taken
- `sticky=0.25`: an action is the one before again with this probability
- `delay=1`: observations come a step late
- `physics.gravity=1.5`: an attribute of the environment times a factor
- `config.wind_power=20`: an argument of the environment

A change that would do nothing is refused: a noise of 0, a factor of 1, an argument that is so
already, an attribute that is 0, or that the environment sets anew in each reset. Where every
episode returns what it does without the change, its row says so.
"""
_MEASURED = """
`evaluate --under` measures any one policy so. Returns are means over {episodes} fresh episodes,
the same for both; the difference is pruned minus dense, its 95 % interval a t interval over
studies, with the noise of measuring the dense policy in it where they share one. What studies of
one dense policy say is about pruning this one. Where the pruned policies were better or worse
already, the column "beyond" says what the change itself does: each study's difference under it,
less its difference without, with the t interval over studies. The dense control is the dense policy
trained on for as many env steps as a trial has: what is above it is more than training on.
"""


def page(tasks: Sequence[dict[str, Any]]) -> str:
    """The page in Markdown.

    Args:
        tasks: what the files hold, one of several studies of a task each.
    """
    episodes = sorted({task["episodes"] for task in tasks})
    measured = _MEASURED.format(episodes=either(episodes))
    parts = [_HEAD, paragraph(" ".join(measured.split()))]
    found = [_beyond(task, row) for task in tasks for row in task["over_studies"] if row["under"]]
    signs = [int(low > 0) - int(high < 0) for _, low, high in found]
    parts.append(
        paragraph(
            f"Of {len(signs)} changes on {len(tasks)} task{'s' * (len(tasks) > 1)} the pruned"
            f" policies bear {signs.count(1)} better than the dense ones and {signs.count(-1)}"
            f" worse, beyond what they differ by without; under {signs.count(0)} no interval tells."
            f" Where nothing differed, {1 - LEVEL:.0%} of such intervals would tell all the same:"
            f" {(1 - LEVEL) * len(signs):.1f} of {len(signs)}."
        )
    )
    parts += [_task(task) for task in tasks]
    return "\n".join(parts)


def _span(shares: Sequence[float]) -> str:
    low, high = (f"{share:.1%}" for share in (shares[0], shares[-1]))
    return low if low == high else f"{low} to {high}"


def _beyond(task: dict[str, Any], row: dict[str, Any]) -> tuple[float, float, float]:
    """What a change adds to the difference of the policies, with its interval over studies."""

    def differences(under: str) -> dict[str, float]:
        return {
            one["study"]: one["pruned"]["return"] - one["dense"]["return"]
            for one in task["studies"]
            if one["under"] == under
        }

    without = differences("")
    return differing([value - without[name] for name, value in differences(row["under"]).items()])


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _task(task: dict[str, Any]) -> str:
    rows, studies = task["over_studies"], [one for one in task["studies"] if not one["under"]]
    shares = sorted(one["sparsity"] for one in studies)
    kept = sorted(one["retention"] for one in studies)
    policies = (
        f"{rows[0]['baselines']} dense {'policies' if rows[0]['baselines'] > 1 else 'policy'}"
    )
    lines = [
        f"## {task['environment']}",
        "",
        paragraph(
            f"{rows[0]['studies']} studies of {policies}; pruned policies {_span(shares)} sparse,"
            f" with {_span(kept)} of the dense policy's gain over random actions on these episodes."
        ),
        "| under | dense | pruned | pruned − dense [95 %] | beyond [95 %] | dense control |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        same = [one for one in task["studies"] if one["under"] == row["under"]]
        idle = " (does nothing here)" * all(one.get("idle", False) for one in same)
        controls = [one["control"]["return"] for one in same if "control" in one]
        control = f"{sum(controls) / len(controls):.1f}" if controls else ""
        beyond = _interval(*_beyond(task, row)) if row["under"] else ""
        lines.append(
            f"| {row['under'] or 'no change'}{idle} | {row['dense']:.1f} | {row['pruned']:.1f} |"
            f" {_interval(row['difference'], row['low'], row['high'])} | {beyond} | {control} |"
        )
    return "\n".join(lines) + "\n"
