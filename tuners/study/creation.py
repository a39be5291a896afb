"""How a study's folder comes about: made from an experiment, or brought from another machine."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from pathlib import Path

from prune_search.errors import UserError, one_line
from prune_search.experiment import file as experiment_file
from prune_search.experiment.schema import Experiment
from prune_search.experiment.trust import pickles
from prune_search.records.folder import StudyFolder
from prune_search.records.models import StudyRecord
from prune_search.records.places import storage_path
from prune_search.rllib.running import quiet_rllib
from prune_search.storage.mirror import Mirror
from prune_search.trial.preflight import check
from tuners.catalog.finding import check_free
from tuners.search.beginnings import check_warm_start
from tuners.search.samplers import check_sampler
from tuners.search.schedulers import scheduler
from tuners.study.capacity import check_room, here, trial_resources
from tuners.study.cluster import reachable
from tuners.tracking.mlflow.client import check_user
from tuners.tracking.projector import check_tracker


def create(experiment: Experiment, name: str | None, stem: str) -> StudyFolder:
    """A new study's folder, once everything that can be checked without training is in order.

    Args:
        experiment: what to study.
        name: the study's name; when None, `stem`, with a number if that is taken.
        stem: the preset's name or the file's stem.

    Raises:
        UserError: the name is taken, the storage cannot be written, the tracking server refuses
            the user, the experiment cannot work, or names pickles that the user has not said
            they trust, or asks for more than this machine has.
    """
    quiet_rllib()
    storage = storage_path(experiment.storage)
    _writable(storage)
    asked = StudyFolder(storage, stem if name is None else name)  # refuses what is no name
    if name is not None:
        check_free(asked)
    mirror = Mirror(storage, experiment.mirror)
    mirror.check()
    if experiment.resources.address:
        reachable(experiment.resources.address)
    check_tracker(experiment)
    check_user(experiment.tracking.uri or "")
    check_sampler(experiment)
    scheduler(experiment)  # refuses what it has no option for
    check(experiment)
    if not experiment.resources.address:
        check_room(trial_resources(experiment).bundles, experiment.resources, here())
    check_warm_start(experiment)
    if name is None:
        taken = {path.name for path in storage.iterdir()}
        names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
        name = next(free for free in names if free not in taken)
    folder = StudyFolder(storage, name, mirror)
    try:
        folder.path.mkdir()
    except FileExistsError:  # made meanwhile
        check_free(folder)
    folder.experiment_file.write_text(experiment_file.dump(experiment), encoding="utf-8")
    mirror.push(folder.experiment_file)
    record = StudyRecord(name=name, started=time.time(), trusted=pickles(experiment))
    folder.write_study(record)
    return folder


def fetch_study(storage: str, name: str, uri: str) -> None:
    """Brings a study that another machine drove into a storage folder, so that it can go on here.

    Raises:
        UserError: no such store, or no such study in it.
    """
    folder = StudyFolder(storage, name, Mirror(storage, uri))
    try:
        folder.bring_records()
    except OSError as error:
        raise UserError(f"mirror: {uri!r} cannot be read: {one_line(error)}") from None
    if not folder.experiment_file.is_file():
        raise UserError(f"name: no study {name!r} in {uri!r}")
    # Its records name the dense policy by where it lay.
    lay = experiment_file.parse(experiment_file.read(folder.experiment_file)).storage
    if storage_path(lay) != folder.path.parent:
        shutil.rmtree(folder.path)
        raise UserError(
            f"storage: the study's is {lay!r} on every node; give --storage {shlex.quote(lay)}"
        )
    if folder.snapshot_file.is_file():
        folder.snapshot_file.replace(folder.optuna_file)


def _writable(storage: Path) -> None:
    try:
        storage.mkdir(parents=True, exist_ok=True)
        probe = storage / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"storage: cannot write to {str(storage)!r}: {error.strerror or error}"
        ) from None
