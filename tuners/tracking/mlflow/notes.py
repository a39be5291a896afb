"""The notes that head MLflow's pages of trials and of the study."""

from __future__ import annotations

from collections.abc import Sequence

from prune_search.experiment.schema import Experiment
from prune_search.records.fronts import front
from prune_search.records.intervals import FEWEST_SEEDS
from prune_search.records.models import FinalRecord, Point, StudyRecord, TrialRecord
from tuners.commands import command
from tuners.report import sizes
from tuners.report.advice import fallen, lacking_recovery
from tuners.report.phrases import did_words, interval, missing_costs, remark, tail
from tuners.report.recommendation import recommended
from tuners.report.study_report import StudyReport, kept_finally
from tuners.words import count, outcome

_NOTE_ROWS = 20  # a note is a tag, of at most 8,000 characters


def trial_note(
    study: StudyRecord,
    trial: TrialRecord,
    experiment: Experiment,
    final: FinalRecord | None,
    bound: float | None,
    remark: str,
) -> str:
    ended = f" ({remark})" if remark else ""
    lines = [
        f"Trial **{trial.name}** of study **{study.name}** on {experiment.environment.id}:"
        f" `{trial.plan.label}`, {outcome(trial)}{ended}.",
        *([f"What it did: {words}."] if (words := did_words(trial)) else []),
        "",
    ]
    best = front(trial.points)
    if best:
        lines += [
            *_table(best, final, bound),
            "",
            "`front/return` is drawn over sparsity in hundredths of a percent; `best_*` are of the"
            f" sparsest point at retention ≥ {experiment.search.retention:.0%}, or of the best"
            " return where there is none.",
        ]
        lines += ["", *_missing(trial.points)]
    return "\n".join(lines).rstrip()


def _missing(points: Sequence[Point]) -> list[str]:
    """Markdown of the cost figures that could not be had; nothing where all could."""
    return [line for why in missing_costs(points) for line in (f"No figure for {why}.", "")]


def summary_note(found: StudyReport, experiment: Experiment) -> str:
    about = f" {experiment.description.strip()}" if experiment.description.strip() else ""
    lines = [
        f"Study **{found.name}**: {count(len(found.trials), 'trial')}, pruning"
        f" {experiment.algorithm.name} on {found.environment}.{about}",
        "",
    ]
    if found.baseline:
        final = f", on the final seeds {interval(found.final.baseline)}" if found.final else ""
        lines += [
            f"Dense baseline: return {interval(found.baseline.returned)}{final};"
            f" {found.baseline.parameters:,} parameters."
            f" Random actions: {interval(found.baseline.random)}.",
            "",
            *_control(found),
        ]
    if lacks := lacking_recovery(found.trials, found.retention):
        lines += [f"To be tried: {lacks}.", ""]
    lines += _missing(found.points)
    if taken := recommended(found):
        point = taken.point.name
        lines += [
            *_table([item.point for item in found.front], found.final, found.bound),
            "",
            *_pooled(found),
            "Evaluate a point again, or take its policy:",
            "",
            "```",
            command("evaluate", found.folder, point),
            command("restore", found.folder, point),
            "```",
        ]
    return "\n".join(lines)


def _control(found: StudyReport) -> list[str]:
    """Markdown of the dense control, where there is one."""
    control, final = found.control, found.final
    if control is None:
        return []
    again = f", on the final seeds {interval(final.control)}" if final and final.control else ""
    fell = fallen(control, found.baseline, found.retention) if found.baseline else ""
    return [
        f"Dense control, the baseline trained on for {control.env_steps:,} env steps with nothing"
        f" pruned: return {interval(control.returned)}{again}; retention {control.retention:.1%}."
        " Better and worse are said in comparison with it.",
        *([f"It does not hold: {fell}."] if fell else []),
        "",
    ]


def _table(points: Sequence[Point], final: FinalRecord | None, bound: float | None) -> list[str]:
    """Markdown, the sparsest points where there are too many."""
    again = final is not None and any(point.name in final.points for point in points)
    headings = " return on final seeds | retention there |" if again else ""
    lines = [
        "| point | sparsity | return | worst tenth | hold | retention |"
        f"{headings} {' | '.join(sizes.HEADINGS)} |",
        "|---|" + "---:|" * (5 + 2 * again + len(sizes.HEADINGS)),
    ]
    for point in points[-_NOTE_ROWS:]:
        worst, held = tail(point.returned, bound)
        cell = f" {_finally(point, final)} |" if again else ""
        lines.append(
            f"| {point.name} | {point.sparsity:.2%} | {interval(point.returned)} | {worst} |"
            f" {held} | {point.retention:.1%} |{cell} {' | '.join(sizes.cells(point))} |"
        )
    if len(points) > _NOTE_ROWS:
        lines += ["", f"The {_NOTE_ROWS} sparsest of {len(points)}; all are in front.json."]
    return [*lines, "", sizes.MEANING]


def _finally(point: Point, final: FinalRecord | None) -> str:
    """Two cells, empty where the point was not measured again."""
    kept = kept_finally(point, final)
    if final is None or kept is None:
        return " | "
    return f"{interval(final.points[point.name])} | {kept:.1%}"


def _pooled(found: StudyReport) -> list[str]:
    """Markdown of the plans that were run with several seeds, as many as fit into a note."""
    if not found.repeated:
        return []
    lines = [
        "Over several seeds (return over seeds and episodes with the t interval over seeds, and its"
        f" stratified IQM; the sparsest round at retention ≥ {found.retention:.0%}, else the best"
        f" return; undecided below {FEWEST_SEEDS} seeds):",
        "",
        f"| trials | plan | sparsity | return | IQM | retention | than this {found.dense} |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for item in found.repeated[-_NOTE_ROWS:]:
        best = item.best(found.retention)
        if best:
            lines.append(
                f"| {' '.join(trial.name for trial in item.trials)}{remark(item)} |"
                f" {item.plan.label} |"
                f" {best.sparsity:.2%} | {interval(best.returned)} | {best.returned.iqm:.4g} |"
                f" {best.retention:.1%} |"
                f" {best.told} |"
            )
    return [*lines, ""]
