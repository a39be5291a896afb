"""What strangers' files can't do."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.records.checkpoint import REPLAY
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, StudyRecord
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.rounds import TrialRounds
from tests.commands import Refusal
from tests.conftest import TINY
from tests.rllib.checkpoints.test_replay import CHOSEN, DQN, SHORT, stand_in
from tests.studies import make_study
from tuners.catalog.finding import checkpoint, open_study
from tuners.cli import main
from tuners.search.database import storage as optuna_storage
from tuners.study.creation import create


class Touch:
    """Unpickling it makes a file: code of whoever wrote the pickle has run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that `hostile` pickles make."""
    return tmp_path / "ran"


@pytest.fixture
def hostile(tmp_path: Path, mark: Path) -> Path:
    """A checkpoint, all of whose pickles make `mark`."""
    folder = tmp_path / "theirs" / "algorithm"
    folder.mkdir(parents=True)
    for name in ("class_and_ctor_args.pkl", "algorithm_state.pkl", "module_state.pkl"):
        (folder / name).write_bytes(pickle.dumps(Touch(mark)))
    (folder.parent / REPLAY).write_bytes(pickle.dumps(Touch(mark)))
    return folder


def test_nothing_is_unpickled_without_a_word_for_it(
    refusal: Refusal, hostile: Path, mark: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(TINY + f"storage: {tmp_path / 's'}\n")
    (tmp_path / "theirs.yaml").write_text(
        TINY.replace("baseline: {", f"baseline: {{checkpoint: {hostile}, ")
    )
    distilled = ("--set", "pruning.distillation=1.0", "--set", f"pruning.teacher={hostile}")
    recorded = (
        *("--set", "algorithm.name=BC", "--set", "algorithm.training={}"),
        *("--set", f"algorithm.offline={{input_: [{hostile}]}}"),
    )
    for field, command in (
        ("baseline.checkpoint", ("run", "theirs.yaml")),
        ("baseline.checkpoint", ("sensitivity", "theirs.yaml")),
        ("baseline.checkpoint", ("benchmark", "masks", "--preset", "theirs.yaml")),
        ("baseline.checkpoint", ("benchmark", "removal", "--preset", "theirs.yaml")),
        ("pruning.teacher", ("run", "mine.yaml", *distilled)),
        ("algorithm.offline", ("run", "mine.yaml", *recorded)),
    ):
        said = refusal(*command)
        assert said.startswith(f"prune-search: {field}: ") and "--trust-checkpoint" in said
    assert not mark.exists()
    assert "not a readable checkpoint" in refusal("run", "theirs.yaml", "--trust-checkpoint")
    assert mark.exists()  # the tests' pickle does run code
    mark.unlink()
    refusal("run", "mine.yaml", *distilled, "--trust-checkpoint")
    assert mark.exists()
    assert not list((tmp_path / "s").glob("*/experiment.yaml"))


@pytest.mark.parametrize("key", ["trusted", "_trusted", "trust", "trust_checkpoint"])
def test_a_file_cannot_vouch_for_itself(hostile: Path, key: str) -> None:
    text = TINY.replace("baseline: {", f"baseline: {{checkpoint: {hostile}, ")
    assert not experiment_file.parse(text).trusted
    assert "trust" not in experiment_file.dump(experiment_file.parse(text).trusting())
    with pytest.raises(UserError, match=f"{key}: unknown key"):
        experiment_file.parse(text + f"{key}: true")


@pytest.mark.slow
def test_a_study_remembers_what_it_was_trusted_with(
    tiny: Any, baseline: Any, hostile: Path, mark: Path, refusal: Refusal, tmp_path: Path
) -> None:
    experiment = tiny(f"baseline.checkpoint={baseline.checkpoint}", storage=tmp_path / "s")
    folder = create(experiment.trusting(), "mine", "mine")
    storage = str(folder.path.parent)
    assert open_study(storage, "mine")[1].trusted
    # Whatever is put into the file later is another matter.
    text = folder.experiment_file.read_text()
    folder.experiment_file.write_text(text.replace(str(baseline.checkpoint), str(hostile)))
    assert not open_study(storage, "mine")[1].trusted
    for arguments in (("resume", "mine"), ("sensitivity", "mine")):
        assert "--trust-checkpoint" in refusal(*arguments, "--storage", storage)
    folder.write_study(StudyRecord(name="mine", started=0.0, baseline=baseline))
    assert "--trust-checkpoint" in refusal("evaluate", "mine", "baseline", "--storage", storage)
    assert not mark.exists()
    assert open_study(storage, "mine", trust=True)[1].trusted


@pytest.mark.slow
def test_what_lies_beside_a_users_checkpoint_is_not_read(
    tiny: Any, baseline: Any, mark: Path, tmp_path: Path
) -> None:
    """A replay buffer is a pickle too; a study reads only those that it has written."""
    experiment = tiny(*DQN, *SHORT, storage=tmp_path / "s")
    theirs = Path(stand_in(experiment, baseline, tmp_path / "theirs", buffer=True).checkpoint)
    (theirs.parent / REPLAY).write_bytes(pickle.dumps(Touch(mark)))
    mine = tiny(*DQN, *SHORT, f"baseline.checkpoint={theirs}", storage=tmp_path / "s").trusting()
    trainer = BaselineTrainer(tmp_path / "s", mine)
    assert trainer.step().done
    try:
        taken: BaselineRecord = trainer.finish()
    except UserError:  # an untrained policy may be no better than chance
        kept = shutil.copytree(theirs, tmp_path / "kept" / "algorithm")
        taken = baseline.model_copy(update={"checkpoint": str(kept)})
    rounds = TrialRounds(mine, StudyFolder(tmp_path / "s", "mine"), taken, 0, CHOSEN)
    assert rounds.step().env_steps >= 1000
    rounds.stop()
    assert not mark.exists()


NAMES = [
    *("..", ".", "../x", "/etc", "a/b", "a\\b", ".hidden", "baselines", "mlartifacts", "mlflow.db"),
    *("a\nb", "a\x1b[2J", "a\u202eb", " a", "a ", "[/bold]", "a" * 101, "é" * 200, "a:b", "*", "~"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere(refusal: Refusal, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="name: must be one folder name"):
        StudyFolder(tmp_path, name)
    for arguments in (
        ("run", "cartpole", "--name", name),
        ("resume", name),
        ("show", name),
        ("evaluate", name, "baseline"),
        ("restore", name, "baseline"),
        ("compact", name, "baseline"),
        ("benchmark", "wall", name),
    ):
        assert "name: must be one folder name" in refusal(*arguments, "--storage", "s")
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["s"])
    assert not list(tmp_path.glob("s/*"))


def test_links_and_points_that_lead_elsewhere(refusal: Refusal, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "elsewhere", trials=1)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "cartpole").symlink_to(folder.path)
    assert "is a link" in refusal("show", "cartpole", "--storage", "s")
    assert "is a link" in refusal("run", "cartpole", "--name", "cartpole", "--storage", "s")
    assert "there are: none" in refusal("show", "other", "--storage", "s")
    for point in ("../../x", "t00/../../x", "/etc/passwd", "t00/1\x1b", ""):
        said = refusal("evaluate", "cartpole", point, "--storage", "elsewhere")
        assert "point: unknown" in said
    record = folder.trials()[0]
    moved = record.points[0].model_copy(update={"checkpoint": "../../.."})
    folder.write_trial(record.model_copy(update={"points": [moved]}))
    with pytest.raises(UserError, match="lies outside of"):
        checkpoint(folder, moved.name)


@pytest.mark.parametrize("broken", [b"", b"{", b'{"name": 3}', b"\xff\xfe", b"[]", None])
@pytest.mark.parametrize("file", ["study.json", "trials/t00/trial.json", "final.json"])
def test_broken_records(refusal: Refusal, tmp_path: Path, file: str, broken: bytes | None) -> None:
    path = make_study(tmp_path / "s", trials=2).path / file
    for place in (path, path.with_name(f".{path.name}.copy")):
        place.unlink(missing_ok=True)
        place.mkdir() if broken is None else place.write_bytes(broken)
    said = refusal("show", "cartpole", "--storage", "s")
    assert f"{path}: not a readable record of prune-search: " in said


def test_a_broken_database(tmp_path: Path) -> None:
    folder = make_study(tmp_path, trials=0)
    (folder.path / "optuna.db").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"optuna\.db: not a readable database of Optuna"):
        optuna_storage(folder)


def test_restoring_where_nothing_can_be_written(refusal: Refusal, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "s", trials=1)
    point = folder.trials()[0].points[0]
    (folder.path / point.checkpoint / "algorithm").mkdir(parents=True)
    restore = ("restore", "cartpole", point.name, "--storage", "s", "--to")
    assert "--to: cannot write '/proc/x'" in refusal(*restore, "/proc/x")
    assert "--to: 's' exists" in refusal(*restore, "s")


def test_one_broken_study_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, trials=1, name="whole")
    for number, content in enumerate((b"\xff", b"environment: [", b"x" * 200_000)):
        make_study(tmp_path, trials=0, name=f"b{number}").experiment_file.write_bytes(content)
    (tmp_path / ".odd").mkdir()
    (tmp_path / ".odd" / "experiment.yaml").write_text("x")
    monkeypatch.setattr(sys, "argv", ["prune-search", "list", "--storage", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert not ended.value.code and "whole" in printed.out
    assert [line.split(":")[0] for line in printed.err.splitlines()] == ["b0", "b1", "b2"]


def test_files_that_are_no_experiment(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "bytes.yaml").write_bytes(b"environment: {id: \xff}")
    (tmp_path / "zeros.yaml").write_bytes(bytes(1000))
    (tmp_path / "huge.yaml").write_bytes(b"# " + b"x" * 200_000)
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, message in (
        ("folder.yaml", "no file"),
        ("bytes.yaml", "not UTF-8"),
        ("zeros.yaml", "not valid YAML"),
        ("huge.yaml", "larger than 100,000 bytes"),
        ("loop.yaml", "no file"),
        ("pipe.yaml", "no file"),
        ("x" * 300 + ".yaml", "no file"),
        ("/dev/zero", "no file"),
        ("a\x1b[2Jb", "unknown"),
    ):
        for command in ("run", "sensitivity"):
            assert message in refusal(command, name), name


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "closed.yaml").write_text(TINY)
    (tmp_path / "closed.yaml").chmod(0)
    assert "Permission denied" in refusal("run", "closed.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "cartpole", "--storage", "~nobody-here/x"), "home directory"),
        (("show", "x", "--storage", "~nobody-here/x"), "home directory"),
        (("list", "--storage", "~nobody-here/x"), "home directory"),
        (("run", "cartpole", "--set", "description=\udcff"), "not valid YAML"),
        (("run", "cartpole", "--set", 'storage="a\\0b"'), "must be one line of printable text"),
        (("run", "cartpole", "--address", "a: ["), "resources.address: no Ray cluster"),
        (("ui", "--host", "a" * 80), "no MLflow store"),
        (("ui", "--uri", "nonsense://x"), "tracking.uri"),
        (("presets", "\x1b"), "unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_arguments(refusal: Refusal, arguments: tuple[str, ...], message: str) -> None:
    assert message in refusal(*arguments)
