"""What running an experiment unpickles: nothing but what the user has a word for.

RLlib's checkpoints are pickles, recorded episodes may hold some, and reading a pickle runs code of
whoever wrote it. So those that an experiment names are opened only for `Experiment.trusting`,
which the command line says (`--trust-checkpoint`), and the file can't. A study remembers in its
record what it was trusted with. What a study has written itself is as much the user's as its code.
"""

from __future__ import annotations

import json
from pathlib import Path

from prune_search.errors import UserError
from prune_search.experiment.schema import Experiment


def pickles(experiment: Experiment) -> dict[str, str]:
    """The pickles that an experiment names: by field, what tells one from another."""
    paths = {
        "baseline.checkpoint": experiment.baseline.checkpoint,
        "pruning.teacher": experiment.pruning.teacher,
    }
    found = {field: str(Path(path).expanduser().resolve()) for field, path in paths.items() if path}
    if offline := experiment.algorithm.offline:
        found["algorithm.offline"] = json.dumps(offline, sort_keys=True, default=str)
    return found


def require_trust(experiment: Experiment, *fields: str) -> None:
    """To be called before a field's pickle is opened; without fields, for all that there are.

    Raises:
        UserError: the user has not said that they trust it.
    """
    if experiment.trusted:
        return
    for field in fields or pickles(experiment):
        raise UserError(
            f"{field}: RLlib's checkpoints and recorded episodes may hold pickles, which run their"
            " author's code; if you trust these, add --trust-checkpoint"
            " (in Python: experiment.trusting())"
        )
