"""Across trials: studies, from Python as from the command line.

    import prune_search as ps
    import tuners

    study = tuners.run(ps.load("cartpole", ["search.trials=20"]), name="mine")
    study.front.to_frame()
    policy = study.best(min_retention=0.95).policy()

`open` finds a study that is there already, by its name or its folder. Nothing heavy is imported
before it is used.
"""

from typing import TYPE_CHECKING

from prune_search.lazy import lazily

if TYPE_CHECKING:
    from tuners.study.handle import Front as Front
    from tuners.study.handle import Study as Study
    from tuners.study.handle import StudyPoint as StudyPoint
    from tuners.study.handle import open_named as open
    from tuners.study.handle import run_new as run

_PLACES = {
    "Front": "study.handle",
    "Study": "study.handle",
    "StudyPoint": "study.handle",
    "open": "study.handle:open_named",
    "run": "study.handle:run_new",
}

__all__ = ["Front", "Study", "StudyPoint", "open", "run"]

__getattr__ = lazily(__name__, _PLACES)
