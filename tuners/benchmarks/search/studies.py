"""Studies that benchmarks run: by name, so that what is finished is found again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment
from prune_search.experiment.search_section import Search
from prune_search.records.folder import StudyFolder


def finished(experiment: Experiment, name: str, *, quiet: bool = True) -> StudyFolder:
    """The study of a name, run to its end if it isn't there yet; one that was interrupted goes on.

    Args:
        experiment: the study's.
        name: the study's.
        quiet: show nothing of its progress.

    Raises:
        UserError: as `tuners.study.driver.run`, or a study of such a name has other settings.
    """
    from rich.console import Console

    from tuners.catalog.finding import open_study, studies
    from tuners.display.live import Progress
    from tuners.study.creation import create
    from tuners.study.driver import run

    if name in studies(experiment.storage):
        folder, known = open_study(experiment.storage, name)
        where = {"storage", "resources", "tracking"}  # the same results wherever it runs
        if known.model_dump(exclude=where) != experiment.model_dump(exclude=where):
            raise UserError(
                f"study {name!r} in {experiment.storage!r} was run with other settings; give"
                " another --storage"
            )
        record = folder.study()
        if record is not None and record.ended is not None:
            return folder
    else:
        folder = create(experiment, name, name)
    run(folder, experiment, Progress(experiment, name, folder.trials(), Console(), quiet=quiet))
    return folder


def only(search: Search, first: Sequence[dict[str, Any]], seeds: int) -> Search:
    """A search that runs what is pinned with so many seeds, each to its end, and nothing else."""
    return search.model_copy(
        update={
            "trials": len(first) * seeds,
            "seeds": seeds,
            "first": list(first),
            "sampler": "random",
            "sampler_options": {},
            "probes": 0,
            "screening": 0,
            "stopping": None,
            "scheduler": None,
            "warm_start": [],
            "time_s": None,
            "env_steps": None,
        }
    )
