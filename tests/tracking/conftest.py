"""What the tests of tracking share: a store, and one study that is over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prune_search.errors import UserError
from tests.studies import end_study, make_study, make_trial
from tests.tracking.stores import Finished, by_trial, tracked
from tuners.tracking.mlflow.client import tracked_experiment
from tuners.tracking.mlflow.tracking import default_uri


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite store, made once: its migrations take two seconds."""
    path = tmp_path_factory.mktemp("store")
    with pytest.raises(UserError, match="no experiment 'none' yet"):
        tracked_experiment(default_uri(path), "none")
    return path / "mlflow.db"


@pytest.fixture
def storage(tmp_path: Path, empty_store: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Finished:
    """Three complete trials, one that failed, and one by threshold; not to be changed."""
    storage = tmp_path_factory.mktemp("finished")
    shutil.copy(empty_store, storage / "mlflow.db")
    folder = make_study(storage)
    folder.write_trial(make_trial(3, rounds=2, state="failed"))
    folder.write_trial(make_trial(4))
    end_study(folder)
    report = tracked(storage, folder)
    return Finished(storage, folder, report, by_trial(storage, report))
