"""A study in Python: its front, its points, their policies."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.plan.plan import Plan
from prune_search.records.folder import EXPERIMENT, StudyFolder
from prune_search.records.models import BaselineRecord, Point, TrialRecord
from prune_search.records.places import is_name
from prune_search.records.returns import Return
from prune_search.storage.usual import VARIABLE, usual
from tuners.catalog.finding import no_study, open_study, studies
from tuners.report.study_report import StudyReport, report
from tuners.study.policies.stored import StoredPolicy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class StudyPoint(StoredPolicy):
    """A point of a study: its figures, and the policy that has them."""

    def __init__(self, study: Study, record: Point, plan: Plan, found: StudyReport) -> None:
        super().__init__(study.folder, study.experiment, record.name)
        self.record, self.plan = record, plan
        self.retention = found.kept(record)
        """On the final seeds where it is measured there, else on the search's."""
        self.returned: Return = found.finals.get(record.name, record.returned)
        """Likewise."""

    def __repr__(self) -> str:
        return (
            f"<point {self.name}: {self.sparsity:.2%} sparse, return {self.returned.value:.4g},"
            f" retention {self.retention:.1%}>"
        )

    @property
    def sparsity(self) -> float:
        """In [0, 1], biases counted; see docs/figures.md."""
        return self.record.sparsity


class Front(Sequence[StudyPoint]):
    """The points that no other of the study dominates, by rising sparsity."""

    def __init__(self, points: Sequence[StudyPoint], found: StudyReport) -> None:
        self._points, self._report = tuple(points), found

    def __len__(self) -> int:
        return len(self._points)

    @overload
    def __getitem__(self, at: int) -> StudyPoint: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[StudyPoint]: ...
    def __getitem__(self, at: int | slice) -> StudyPoint | Sequence[StudyPoint]:
        return self._points[at]

    def __iter__(self) -> Iterator[StudyPoint]:
        return iter(self._points)

    def __repr__(self) -> str:
        return f"<front of {self._report.name}: {', '.join(p.name for p in self) or 'no points'}>"

    def to_frame(self) -> pd.DataFrame:
        """A row for each point, with the columns that `prune-search show --json` documents."""
        import pandas as pd

        from tuners.report.as_json import to_json

        rows = to_json(self._report)["front"]
        flat = [{**row.pop("strategy"), **row} for row in rows]
        return pd.DataFrame(flat).set_index("point") if flat else pd.DataFrame()

    def plot(self) -> Figure:
        """Return over sparsity, as `prune-search show --plot` draws it.

        Raises:
            UserError: there is nothing to draw yet.
        """
        from tuners.plots.front import study_figure

        if not self._points:
            raise UserError(f"front: study {self._report.name!r} has no point yet")
        return study_figure(self._report)


class Study:
    """A study that has been begun: what it found so far, read from its folder whenever asked.

    Args:
        folder: the study's.
        experiment: what it does.
    """

    def __init__(self, folder: StudyFolder, experiment: Experiment) -> None:
        self.folder, self.experiment = folder, experiment

    def __repr__(self) -> str:
        found = self.report
        return (
            f"<study {self.name} on {found.environment}: {len(found.trials)} trials, front of"
            f" {len(found.front)}>"
        )

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def report(self) -> StudyReport:
        """All that was found, as data."""
        return report(self.folder, self.experiment)

    @property
    def baseline(self) -> BaselineRecord | None:
        """The dense policy; None until it is trained."""
        record = self.folder.study()
        return record.baseline if record else None

    @property
    def trials(self) -> list[TrialRecord]:
        return self.folder.trials()

    @property
    def front(self) -> Front:
        """The study's, by rising sparsity."""
        found = self.report
        points = [StudyPoint(self, item.point, item.plan, found) for item in found.front]
        return Front(points, found)

    def best(
        self,
        min_retention: float | None = None,
        *,
        max_parameters: int | None = None,
        max_bytes: int | None = None,
    ) -> StudyPoint:
        """The sparsest point of the front that keeps to a wish.

        Args:
            min_retention: to keep at least; `search.retention` if None.
            max_parameters: non-zero ones, at most.
            max_bytes: of the file that `compact` writes, at most.

        Raises:
            UserError: no point does; the message says which comes nearest.
        """
        least = self.experiment.search.retention if min_retention is None else min_retention
        front = list(self.front)

        def small(point: StudyPoint) -> bool:
            record = point.record
            return (max_parameters is None or record.nonzero <= max_parameters) and (
                max_bytes is None
                or (record.compact_bytes is not None and record.compact_bytes <= max_bytes)
            )

        fits = [point for point in front if small(point) and point.retention >= least]
        if fits:
            return max(fits, key=lambda point: point.sparsity)
        if not front:
            raise UserError(f"best: study {self.name!r} has no point yet")
        near = max(filter(small, front), key=lambda p: p.retention, default=front[-1])
        raise UserError(
            f"best: no point of study {self.name!r} keeps {least:.1%} of the return"
            + (f" with at most {max_parameters:,} parameters" if max_parameters is not None else "")
            + (f" in at most {max_bytes:,} bytes" if max_bytes is not None else "")
            + f"; the nearest is {near!r}"
        )

    def point(self, name: str) -> StudyPoint:
        """A point by its name, `t03/2`, whether it is on the front or not.

        Raises:
            UserError: there is none of this name; the message lists those there are. `baseline` and
                `control` are no points: `stored` has them.
        """
        self.stored(name)
        record = self.folder.points().get(name)
        if record is None:
            raise UserError(f"point: {name} is of no trial; stored({name!r}) has its policy")
        found = self.report
        plan = next(trial.plan for trial in found.trials if trial.number == record.trial)
        return StudyPoint(self, record, plan, found)

    def stored(self, name: str) -> StoredPolicy:
        """The policy of a point, by its name, or of the `baseline`, or of the dense `control`.

        Raises:
            UserError: there is none of this name; the message lists those there are.
        """
        found = StoredPolicy(self.folder, self.experiment, name)
        _ = found.checkpoint  # is there
        return found

    def resume(self, *, progress: bool = True) -> Study:
        """Runs it to its end, from where it is.

        Args:
            progress: whether to show what is going on.

        Raises:
            UserError: as `tuners.run`.
            KeyboardInterrupt: stopped; it can be resumed.
        """
        _drive(self.folder, self.experiment, progress)
        return self


def run_new(
    experiment: Experiment,
    name: str | None = None,
    *,
    trust: bool = False,
    progress: bool = True,
) -> Study:
    """Runs a study from its beginning to its end, as `prune-search run` does.

    Args:
        experiment: what to do, see `prune_search.load`.
        name: the study's; `study`, with a number if that is taken, if None.
        trust: you trust the pickles that the experiment names.
        progress: whether to show what is going on, in a notebook or a terminal.

    Raises:
        UserError: the experiment can't work, the name is taken, or there is no room for a trial.
        KeyboardInterrupt: stopped; `open(...).resume()` goes on.
    """
    from tuners.study.creation import create

    trusted = experiment.trusting() if trust else experiment
    folder = create(trusted, name, "study")
    return Study(folder, trusted).resume(progress=progress)


def open_named(path: str | Path, *, trust: bool = False) -> Study:
    """A study that is there already, by its folder, `studies/mine`, or by its name, `mine`.

    Args:
        path: the study's folder. A name alone that is no study's folder here is that of a study in
            the storage of commands: the environment variable PRUNE_SEARCH_STORAGE's, else
            `studies`.
        trust: you trust the pickles that its experiment names.

    Raises:
        UserError: there is no such study; the message says where it was looked for, and lists those
            there are.
    """
    whole = Path(path).expanduser()
    storage = str(whole.parent)
    if whole.name == str(path) and not (whole / EXPERIMENT).is_file():
        storage = usual()
        if is_name(whole.name) and whole.name not in studies(storage):
            raise no_study(
                whole.name,
                storage,
                f"; nor is it a study's folder in {Path.cwd()}; {VARIABLE} may name other storage",
            )
    return Study(*open_study(storage, whole.name, trust))


def _drive(folder: StudyFolder, experiment: Experiment, progress: bool) -> None:
    from rich.console import Console

    from tuners.display.live import Progress
    from tuners.study.driver import run

    with Progress(
        experiment, folder.name, folder.trials(), Console(file=sys.stdout), quiet=not progress
    ) as display:
        run(folder, experiment, display)
