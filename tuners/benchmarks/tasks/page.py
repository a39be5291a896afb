"""What studies have found on their tasks, as a page in Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tuners.search.usual import CURVES, TPE
from tuners.words import either, paragraph

_HEAD = """# What the presets find

Each of these is what one command finds, `prune-search run PRESET`, on two cores; where it names a
sampler, it was run while another than today's (`curves`) was the default. The command below takes
what studies have found as data, a file and a picture each, and writes this page from the files; no
figure on it is typed by hand.

```bash
prune-search benchmark tasks {studies} --to docs/results.md
```

Every return is one on {episodes} episodes of seeds that neither training nor search has seen, with
a 95 % bootstrap interval over these episodes. Retention is the share of the dense policy's gain
over random actions; in its interval is the noise of measuring the dense policy too. The dense
control is the dense policy trained on for as many env steps as a trial has, with nothing pruned.
Where it keeps more than the dense policy, so do policies that are trained on: what pruning costs is
the distance to the control, which the column "than dense control" is about. Bytes are those of the
file that `prune-search compact` writes, without the critic: it leaves out units that do nothing,
while single zeros take room. Env steps are a trial's until the point, the dense policy's training
before it not counted.

**Controls.** A front is one study of one dense policy, and its points were chosen among many, on
other episodes than those measured here: no choice flatters them, and some are worth less than
sparser ones, and are shown all the same. Whether the search was worth it is what a task's second
table is about. `prune-search benchmark controls STUDY` repeats the recommended plan from the same
dense policy with new training seeds, beside what one who knows the field would do without a search
at as many weights, random choices, and a dense network of as many parameters; all on episodes of
seeds that no choice has seen. What begins with new weights has the dense policy's env steps
besides. Intervals there are over training seeds (t; of differences Welch's), of pruning and
training on, not of the dense policy. A plan that was chosen by its luck does worse there than on
the front; that is what it is for.

**Published figures.** The nearest, Graesser et al. 2022 (The state of sparse training in deep
reinforcement learning), prune actor and critic both while they are trained from new weights, with
other budgets; here it is a trained policy that is pruned. So none stands beside these, but where a
preset is in their setting.
"""
_PUBLISHED = {
    "acrobot-dqn": "**Published**: Graesser et al. 2022 have -67 dense, and with gradual magnitude"
    " pruning -65 at a sparsity of 95 % and -73 at 98 %. What differs: they update at every step on"
    " 128 transitions, and this preset at every second one on 64; it has 100,000 env steps.",
}
"""Figures of others by study, where the preset is in their setting."""
_ROW = "| {} |"
_SPARSE = 0.9  # where a reader looks first


def page(tasks: Sequence[Mapping[str, Any]]) -> str:
    """The page in Markdown.

    Args:
        tasks: what `result` gave; each one's picture lies in `results/STUDY.png` beside the page.
    """
    episodes = either(sorted({task["episodes"] for task in tasks}))
    head = _HEAD.format(episodes=episodes, studies=" ".join(task["study"] for task in tasks))
    titles = _titles(tasks)
    sections = (_task(task, title) for task, title in zip(tasks, titles, strict=True))
    return "\n".join([head, _overview(tasks, titles), *sections])


def _titles(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """The environment of each, and the study's name where others have the same."""
    environments = [task["environment"] for task in tasks]
    return [
        name if environments.count(name) == 1 else f"{name} ({task['study']})"
        for name, task in zip(environments, tasks, strict=True)
    ]


def _overview(tasks: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> str:
    """A row for each task: the dense policy, and the point to take."""
    lines = [
        "| task | dense return [95 %] | sparsest that keeps enough | retention [95 %] | bytes |",
        "|---|---|---|---|---|",
    ]
    short: list[str] = []
    for task, title in zip(tasks, titles, strict=True):
        best = next(one for one in task["front"] if one["point"] == task["recommended"])
        short += _short(task, best)
        cells = [
            f"[{title}](#{_anchor(title)})",
            _return(task["dense"]),
            f"{best['sparsity']:.1%} sparse",
            _retention(best),
            f"{_count(task['dense']['bytes'])} → {_count(best['bytes'])}",
        ]
        lines.append(_ROW.format(" | ".join(cells)))
    if short:
        lines += ["", "What fell short:", "", *map(_item, short)]
    return "\n".join(lines) + "\n"


def _short(task: Mapping[str, Any], best: Mapping[str, Any]) -> list[str]:
    """What a reader may have hoped for, and the study has not found."""
    name, wished = task["study"], task["wished"]
    found = []
    if best["retention"] < wished:
        found.append(f"{name}: no point keeps {wished:.0%}")
    elif best["than_dense"] == "worse" and task["control"]:
        found.append(f"{name}: {best['point']} returns less than the dense control")
    for one in (task.get("controls") or {"methods": []})["methods"]:
        if one["against"] and one["against"][0] < 0 < one["sparsity"]:
            found.append(
                f"{name}: over training seeds, {one['method']}, of as many weights, keeps"
                f" {one['retention']:.1%}, and the searched plan"
                f" {task['controls']['methods'][0]['retention']:.1%}"
            )
    sparse = [one["retention"] for one in task["front"] if one["sparsity"] >= _SPARSE]
    if not sparse:
        found.append(f"{name}: no point is {_SPARSE:.0%} sparse")
    elif max(sparse) < wished:
        found.append(
            f"{name}: from {_SPARSE:.0%} sparsity on points keep {max(sparse):.1%} at most"
        )
    return found


def _task(task: Mapping[str, Any], title: str) -> str:
    dense, control = task["dense"], task["control"]
    run = f"prune-search run {task['study']}"
    if (sampler := task.get("sampler", TPE)) != CURVES:  # TPE was the default at first
        run += f" --set search.sampler={sampler}"
    text = (
        f"{task['description']} `{run}`: {task['algorithm']};"
        f" {task['trials']} trials, {task['env_steps']:,} env steps in all beside the dense"
        f" policy's {dense['env_steps']:,}. Random actions return {task['random']:.1f}."
    )
    lines = [
        f"## {title}",
        "",
        paragraph(text),
        f"![Front on {title}](results/{task['study']}.png)",
        "",
        "| policy | sparsity | non-zero | bytes | return [95 %] | retention [95 %]"
        " | than dense control | env steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    parameters, size = f"{dense['parameters']:,}", _count(dense["bytes"])
    rows = [["dense", "0.0%", parameters, size, _return(dense), "", "", ""]]
    if control:
        kept, steps = _retention(control), f"{control['env_steps']:,}"
        rows.append(["dense control", "0.0%", parameters, "", _return(control), kept, "", steps])
    for one in task["front"]:
        mark = "**" if one["point"] == task["recommended"] else ""
        row = [
            f"{mark}{one['point']}{mark}: {one['plan']}",
            f"{one['sparsity']:.1%}",
            f"{one['nonzero']:,}",
            _count(one["bytes"]),
            _return(one),
            _retention(one),
            one["than_dense"],
            f"{one['env_steps']:,}",
        ]
        rows.append(row)
    text = "\n".join([*lines, *(_ROW.format(" | ".join(row)) for row in rows)]) + "\n"
    if task.get("repeated"):
        text += _repeated(task["repeated"])
    if published := _PUBLISHED.get(task["study"]):
        text += f"\n{paragraph(published)}"
    return text + (_controls(task["controls"]) if task.get("controls") else "")


def _repeated(plans: Sequence[Mapping[str, Any]]) -> str:
    """The plans that the study itself ran with several seeds, at their ends."""
    text = (
        "Plans that the study ran with several seeds, each at its end: means over seeds, with t"
        " intervals over them, on the search's own episodes. Trials that failed or were stopped"
        " are left out, and counted."
    )
    lines = [
        "",
        paragraph(text),
        "| plan | seeds | collapsed | left out | sparsity | return [95 %] | IQM | retention |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in plans:
        row = [
            one["plan"],
            *(str(one[name]) for name in ("seeds", "collapsed", "left_out")),
            f"{one['sparsity']:.1%}",
            _return(one),
            f"{one['iqm']:.1f}",
            f"{one['retention']:.1%}",
        ]
        lines.append(_ROW.format(" | ".join(row)))
    return "\n".join(lines) + "\n"


def _controls(found: Mapping[str, Any]) -> str:
    """The searched plan and its rivals, over training seeds."""
    text = (
        f"Its point {found['point']} against controls, {found['seeds']} trainings of each,"
        f" {found['episodes']} episodes of each. The dense policy returns"
        f" {found['dense_return']:.1f} on these episodes."
    )
    lines = [
        "",
        paragraph(text),
        "| method | sparsity | non-zero | mean return [95 %] | IQM | retention"
        " | searched plan's lead [95 %] | env steps in all |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in found["methods"]:
        ahead = one["against"]
        row = [
            f"**{one['method']}**, {one['about']}",
            f"{one['sparsity']:.1%}",
            f"{one['nonzero']:,.0f}",
            _return(one),
            f"{one['iqm']:.1f}",
            f"{one['retention']:.1%}",
            f"{ahead[0]:.1f} [{ahead[1]:.1f}, {ahead[2]:.1f}]" if ahead else "",
            f"{one['env_steps']:,}",
        ]
        lines.append(_ROW.format(" | ".join(row)))
    return "\n".join(lines) + "\n"


def _count(number: int | None) -> str:
    """`1,200`; `-` for what is not known."""
    return "-" if number is None else f"{number:,}"


def _return(one: Mapping[str, Any]) -> str:
    return f"{one['return']:.1f} [{one['low']:.1f}, {one['high']:.1f}]"


def _retention(one: Mapping[str, Any]) -> str:
    return f"{one['retention']:.1%} [{one['retention_low']:.1%}, {one['retention_high']:.1%}]"


def _anchor(title: str) -> str:
    """Of a heading, as pages of Markdown have it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _item(text: str) -> str:
    """Of a list, lines hanging."""
    return textwrap.fill(f"- {text}", 100, subsequent_indent="  ", break_on_hyphens=False)
