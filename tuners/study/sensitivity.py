"""How much pruning each layer of a dense policy bears: of a study's, or of an experiment's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prune_search.errors import TrialError, UserError, did_you_mean, one_line
from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import require_trust
from prune_search.records.folder import StudyFolder
from prune_search.records.fronts import noise
from prune_search.records.layer_curves import SensitivityRecord
from prune_search.records.models import BaselineRecord
from prune_search.records.places import storage_path
from prune_search.rllib.running import process_settings
from prune_search.storage.usual import STUDIES
from prune_search.trial.baselines.baseline import (
    BaselineProgress,
    baseline_folder,
    followed,
    train_baseline,
)
from prune_search.trial.preflight import check
from prune_search.trial.sensitivity.scan import sensitivity_of
from tuners.catalog.finding import open_study, studies
from tuners.study.capacity import check_room, cluster, trial_resources
from tuners.study.cluster import connection


class Watching(Protocol):
    """Is told how far a measurement is."""

    def stage(self, what: str, total: int | None) -> None:
        """What is going on now, and how many steps it takes, where that is known."""

    def at(self, done: int, total: int | None = None) -> None:
        """How far the stage is."""

    def note(self, text: str) -> None:
        """Something that the user is to know."""


@dataclass(frozen=True)
class Source:
    """Whose dense policy is looked at."""

    experiment: Experiment
    study: StudyFolder | None = None
    """The study's folder, if it is a study's."""
    baseline: BaselineRecord | None = None
    """If the study has one already."""


def source_of(name: str, storage: str | None, trust: bool) -> Source:
    """A study's dense policy, or else that of a preset or of an experiment file.

    Args:
        name: the study's, which is looked for first, a preset's, or a path.
        storage: the folder of the studies; the usual one if None.
        trust: the user trusts the pickles that the experiment names.

    Raises:
        UserError: there is none of these; the message lists what there is.
    """
    root = storage or STUDIES
    if name in studies(root):
        study, settings = open_study(root, name, trust)
        experiment_file.ready(settings)  # its own criteria are among those known
        record = study.study()
        # Its files lie here now, whatever its experiment says.
        settings = settings.model_copy(update={"storage": str(study.path.parent)})
        return Source(settings, study, record.baseline if record else None)
    known = experiment_file.presets()
    is_file = Path(name).suffix in {".yaml", ".yml"} or "/" in name or os.path.isfile(name)  # noqa: PTH113
    if name not in known and not is_file:
        raise UserError(
            f"experiment or study: unknown {name!r}"
            f"{did_you_mean(name, [*studies(root), *known]) or ';'} studies in {root!r}:"
            f" {', '.join(studies(root)) or 'none'}; presets: {', '.join(known)};"
            " or the path of a YAML file"
        )
    changes = [f"storage={json.dumps(storage)}"] if storage else []
    return Source(experiment_file.load(name, changes, trust))


def measure(
    source: Source, granularity: str, criterion: str, episodes: int | None, watching: Watching
) -> SensitivityRecord:
    """The sensitivity of each layer; the dense policy is trained first, if no study has it yet.

    Args:
        source: whose.
        granularity: a key of `GRANULARITIES`.
        criterion: a key of `CRITERIA`.
        episodes: of each evaluation; as in the search if None.
        watching: is told how far it is.

    Raises:
        UserError: the experiment can't work, there is no room for it, or it can't be measured.
    """
    settings = source.experiment
    process_settings(settings.resources.threads)
    storage = storage_path(settings.storage)
    require_trust(settings)
    dense = source.baseline or baseline_folder(storage, settings).record()
    if dense is None:
        check(settings)
    with connection(settings.resources):
        # This process trains; the others need room.
        others = trial_resources(settings).bundles[1:]
        check_room([{}, *others], settings.resources, cluster())
        if dense is None:
            dense = _trained(settings, storage, watching)
        for note in noise(dense):
            watching.note(note)
        if episodes is None or episodes == settings.evaluation.episodes:
            # A study's trials read the same file; without a study it lies beside the policy.
            owner = source.study or baseline_folder(storage, settings)
            kept: Path | None = owner.sensitivity_file(granularity, criterion)
        else:
            evaluation = settings.evaluation.model_copy(update={"episodes": episodes})
            settings, kept = settings.model_copy(update={"evaluation": evaluation}), None
        watching.stage("evaluating", None)
        try:
            return sensitivity_of(settings, kept, dense, granularity, criterion, watching.at)
        except (ValueError, TrialError) as error:
            raise UserError(f"sensitivity: {one_line(error)}") from None


def _trained(settings: Experiment, storage: Path, watching: Watching) -> BaselineRecord:
    """The dense policy of an experiment that no study has run yet; kept for all that will."""
    given = settings.baseline.checkpoint is not None
    text = "measuring your policy" if given else "training the dense policy"
    watching.stage(text, None if given else settings.baseline.env_steps)

    def tell(step: BaselineProgress) -> None:
        watching.at(step.env_steps)
        if step.note:
            watching.note(step.note)

    return followed(train_baseline(storage, settings), tell)
