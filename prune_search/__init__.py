"""Finds small policies for deep reinforcement learning: everything inside one trial.

>>> import prune_search as ps
>>> experiment = ps.load("cartpole", ["search.trials=20"])
>>> experiment.search.trials
20

Nothing heavy is imported before it is used.
"""

from typing import TYPE_CHECKING

from prune_search.lazy import lazily

if TYPE_CHECKING:
    from prune_search.errors import UserError as UserError
    from prune_search.experiment.file import load as load
    from prune_search.experiment.file import parse as parse
    from prune_search.experiment.schema import Experiment as Experiment
    from prune_search.export.policy import Policy as Policy
    from prune_search.importing.policies import import_policy as import_policy

_PLACES = {
    "UserError": "errors",
    "load": "experiment.file",
    "parse": "experiment.file",
    "Experiment": "experiment.schema",
    "Policy": "export.policy",
    "import_policy": "importing.policies",
}

__all__ = ["Experiment", "Policy", "UserError", "import_policy", "load", "parse"]

__getattr__ = lazily(__name__, _PLACES)
