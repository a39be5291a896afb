"""A storage folder's copy: pushed and pulled whole, through a store of files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from prune_search.errors import UserError
from prune_search.experiment.file import dump
from prune_search.records.folder import StudyFolder
from prune_search.storage.mirror import Mirror
from tests.studies import make_study, make_trial
from tuners.catalog.finding import open_study
from tuners.search.database import states
from tuners.search.searcher import StudySearch
from tuners.study.creation import fetch_study


@pytest.fixture
def here(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "here", (tmp_path / "store").as_uri())


@pytest.fixture
def there(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "there", (tmp_path / "store").as_uri())


def write(path: Path, text: str = "1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_one_node_pushes_another_pulls(tmp_path: Path, here: Mirror, there: Mirror) -> None:
    here.check()
    deep = write(tmp_path / "here" / "study" / "round-00" / "a" / "b")
    here.push(deep.parents[1])
    assert there.pull(tmp_path / "there" / "study" / "round-00")
    assert (tmp_path / "there" / "study" / "round-00" / "a" / "b").read_text() == "1"
    assert not there.pull(tmp_path / "there" / "study" / "round-01")
    assert not list((tmp_path / "there").rglob(".pulled*"))


def test_a_folder_is_replaced_whole(tmp_path: Path, here: Mirror, there: Mirror) -> None:
    folder = write(tmp_path / "here" / "round" / "old").parent
    here.push(folder)
    there.pull(tmp_path / "there" / "round")
    (folder / "old").unlink()
    write(folder / "new")
    here.push(folder)
    there.pull(tmp_path / "there" / "round")
    assert [path.name for path in (tmp_path / "there" / "round").iterdir()] == ["new"]


def test_what_is_here_is_not_fetched_and_half_of_it_is(
    tmp_path: Path, here: Mirror, there: Mirror
) -> None:
    baseline = write(tmp_path / "here" / "baseline" / "proof", "theirs").parent
    here.offer(baseline, "proof")
    half = write(tmp_path / "there" / "baseline" / "begun").parent
    there.fetch(half, "proof")
    assert [path.name for path in half.iterdir()] == ["proof"]
    write(half / "proof", "ours")
    there.fetch(half, "proof")
    there.offer(half, "proof")  # the store has one
    assert (half / "proof").read_text() == "ours"
    assert (tmp_path / "store" / "baseline" / "proof").read_text() == "theirs"


def test_without_a_store_nothing_happens(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, None)
    mirror.check()
    mirror.push(tmp_path / "nothing")
    assert not mirror.used and not mirror.pull(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://key:secret@bucket/folder", "mirror: must hold no key"),
        ("nonsense://bucket", "mirror: no object store at 'nonsense://bucket'"),
        ("file:///proc/studies", "mirror: cannot write to 'file:///proc/studies'"),
    ],
)
def test_a_store_that_cannot_be_is_one_line(tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        Mirror(tmp_path, uri).check()
    assert "\n" not in str(raised.value) and "secret" not in str(raised.value)


def test_a_study_is_fetched_without_its_checkpoints(tmp_path: Path, tiny: Any) -> None:
    uri, storage = (tmp_path / "store").as_uri(), tmp_path / "studies"
    folder = make_study(storage, trials=2)
    folder.experiment_file.write_text(f"environment: {{id: A}}\nstorage: {storage}\n")
    write(folder.trial_path(0) / "round-00" / "masks.pt")
    Mirror(storage, uri).push(folder.path)
    folder.path.rename(tmp_path / "lost")

    with pytest.raises(UserError, match="storage: the study's is"):
        fetch_study(str(tmp_path / "other"), "cartpole", uri)
    with pytest.raises(UserError, match="no study 'none' in"):
        fetch_study(str(storage), "none", uri)
    fetch_study(str(storage), "cartpole", uri)
    fetched = StudyFolder(storage, "cartpole")
    assert fetched.trials() == [make_trial(0), make_trial(1)]
    assert fetched.study() is not None
    assert not (fetched.trial_path(0) / "round-00").exists()


def test_a_search_whose_machine_is_lost_goes_on_from_the_mirror(tmp_path: Path, tiny: Any) -> None:
    """What was suggested last is suggested again, with the parameters that it had."""
    store, storage = (tmp_path / "store").as_uri(), tmp_path / "studies"
    experiment = tiny(f"mirror={store}", storage=storage)
    Mirror(storage, store).check()
    folder = StudyFolder(storage, "lost", Mirror(storage, store))
    folder.path.mkdir(parents=True)
    folder.experiment_file.write_text(dump(experiment))
    folder.mirror.push(folder.experiment_file)
    first = StudySearch(experiment, folder).suggest("a")
    folder.write_trial(make_trial(0, rounds=2, state="running"))
    folder.path.rename(tmp_path / "lost")

    fetch_study(str(storage), "lost", store)
    found, settings = open_study(str(storage), "lost")
    assert found.trials() == [make_trial(0, rounds=2, state="running")]
    again = StudySearch(settings, found)
    assert first is not None and again.suggest("b") == first
    again.on_trial_complete("b", error=True)
    assert states(found) == {0: TrialState.FAIL}
    shutil.rmtree(storage)  # and once more
    fetch_study(str(storage), "lost", store)
    assert states(StudyFolder(storage, "lost")) == {0: TrialState.FAIL}


def test_a_mirror_needs_one_path_on_every_node(tiny: Any) -> None:
    with pytest.raises(UserError, match="storage: must be an absolute path with a mirror"):
        tiny("mirror=s3://bucket/studies")
    assert tiny("mirror=s3://bucket/studies", storage=Path("/studies")).mirror
