"""Whether a pruned policy bears a harder task as the dense one does: both measured on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.records.intervals import Verdict, compare, differing
from prune_search.records.returns import Return, retention_of
from prune_search.rllib.evaluation.asked import check_evaluation
from tuners.study.handle import Study


@dataclass(frozen=True)
class Borne:
    """What one study's policies return while one change is at work."""

    study: str
    point: str
    """The sparsest that holds the wished retention without a change."""
    sparsity: float
    under: str
    """The change; empty for none."""
    dense: Return
    pruned: Return
    control: Return | None
    """The dense control's: trained on for as long as a trial, and not pruned."""
    random: Return
    baseline: str
    """Key of the dense policy; studies may share one."""
    idle: bool
    """Whether every episode returned what it does without the change, those of random actions too:
    it does nothing on this task."""

    @property
    def retention(self) -> float:
        """The pruned policy's share of the dense one's gain over random actions, both here."""
        return retention_of(self.pruned.value, self.dense, self.random)

    @property
    def verdict(self) -> Verdict:
        """Of the pruned policy against this dense one, by their episodes."""
        return compare([self.pruned], self.dense)


@dataclass(frozen=True)
class OverStudies:
    """A change's effect over several studies of a task."""

    under: str
    studies: int
    baselines: int
    """Dense policies; where it is one, the answer is about this one alone."""
    dense: float
    """Mean over studies of what the dense policies return."""
    pruned: float
    difference: float
    """Mean over studies of pruned minus dense."""
    low: float
    """Lower end of its 95 % t interval over studies; the noise of measuring a dense policy that
    they share is in it."""
    high: float


def borne(
    studies: Sequence[Study],
    changes: Sequence[str],
    *,
    min_retention: float | None = None,
    episodes: int = 100,
    seed: int = 2,
    say: Callable[[str], None] = lambda _: None,
) -> list[Borne]:
    """Measures each study's dense policy and its sparsest point that holds, without a change and
    under each; the same episodes for both.

    Args:
        studies: which have a front.
        changes: as `prune_search.rllib.evaluation.perturbation.perturbation` reads them.
        min_retention: of the point, on the final seeds; `search.retention` if None.
        episodes: of each measurement, 2 to 100,000.
        seed: of the evaluation; neither the search's 0 nor its end's 1.
        say: is told of each measurement that is done.

    Raises:
        UserError: a change is none, a task has nothing of its kind, a study has no such point, or
            an argument is out of range.
    """
    from prune_search.rllib.evaluation.checkpoint_meter import CheckpointMeter
    from prune_search.rllib.evaluation.perturbation import perturbation, perturbed

    check_evaluation(seed, episodes)
    read = [perturbation(text) for text in changes]
    plans: list[tuple[Study, str, float, list[tuple[str, Experiment]]]] = []
    for study in studies:  # what can be refused, before anything is measured
        best = study.best(min_retention)
        tasks = [("", study.experiment)]
        tasks += [(change.text, perturbed(study.experiment, change)) for change in read]
        plans.append((study, best.name, best.sparsity, tasks))
    found, known = [], dict[tuple[Path | None, str], Return]()
    for study, point, sparsity, tasks in plans:
        record = study.folder.study()
        names = ["baseline", point]
        if record is not None and record.control is not None:
            names.append("control")
        without: dict[str, list[float]] = {}
        for under, experiment in tasks:
            meter = CheckpointMeter(experiment, study.folder.path.parent)
            task = experiment.environment.model_dump_json()

            def returned(
                path: Path | None, meter: CheckpointMeter = meter, task: str = task
            ) -> Return:
                """Measured once, where studies share a dense policy."""
                key = (path, task)
                if key not in known:
                    known[key] = (
                        meter.measure(path, seed, episodes).returned
                        if path
                        else meter.random(seed, episodes)
                    )
                return known[key]

            returns = {name: returned(study.stored(name).checkpoint) for name in names}
            returns["random"] = returned(None)
            each = {name: value.each for name, value in returns.items()}
            without = without if under else each  # the task as it is comes first
            one = Borne(
                study=study.name,
                point=point,
                sparsity=sparsity,
                under=under,
                dense=returns["baseline"],
                pruned=returns[point],
                control=returns.get("control"),
                random=returns["random"],
                baseline=record.baseline.key if record and record.baseline else "",
                idle=bool(under) and each == without,
            )
            found.append(one)
            say(
                f"{one.study} {one.point}, {one.under or 'no change'}: dense"
                f" {one.dense.value:.1f}, pruned {one.pruned.value:.1f}"
                + ("; every episode as without the change" if one.idle else "")
            )
    return found


def over_studies(found: Sequence[Borne]) -> list[OverStudies]:
    """What the studies say together, a row for each change.

    Raises:
        UserError: there are fewer than two studies.
    """
    names = {one.study for one in found}
    if len(names) < 2:
        raise UserError(f"studies: an interval over them takes two or more, got {len(names)}")
    rows = []
    for under in dict.fromkeys(one.under for one in found):
        same = [one for one in found if one.under == under]
        baselines = {one.baseline for one in same}
        difference, low, high = differing(
            [one.pruned.value - one.dense.value for one in same],
            same[0].dense if len(baselines) == 1 else None,
        )
        dense, pruned = (
            sum(value.value for value in each) / len(same)
            for each in ([one.dense for one in same], [one.pruned for one in same])
        )
        rows.append(
            OverStudies(under, len(same), len(baselines), dense, pruned, difference, low, high)
        )
    return rows
