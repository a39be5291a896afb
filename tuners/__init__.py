"""Across trials: studies, from Python as from the command line.

    import prune_search as ps
    import tuners

    study = tuners.run(ps.load("cartpole", ["search.trials=20"]), name="mine")
    study.front.to_frame()
    policy = study.best(min_retention=0.95).policy()

`open` finds a study that is there already. Nothing heavy is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuners.study.handle import Front as Front
    from tuners.study.handle import Study as Study
    from tuners.study.handle import StudyPoint as StudyPoint
    from tuners.study.handle import open_named as open
    from tuners.study.handle import run_new as run

_NAMES = {
    "Front": "Front",
    "Study": "Study",
    "StudyPoint": "StudyPoint",
    "open": "open_named",
    "run": "run_new",
}

__all__ = ["Front", "Study", "StudyPoint", "open", "run"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("tuners.study.handle"), _NAMES[name])
