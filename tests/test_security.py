"""What strangers' files can't do, and where secrets don't go."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prune_search.credentials import holds_credentials, redacted
from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.records.checkpoint import REPLAY
from prune_search.records.folder import StudyFolder
from prune_search.records.models import BaselineRecord, StudyRecord
from prune_search.trial.baselines.baseline import BaselineTrainer
from prune_search.trial.rounds import TrialRounds
from tests.cluster.servers import free_port
from tests.commands import Command, refused
from tests.conftest import TINY
from tests.rllib.checkpoints.test_replay import CHOSEN, DQN, SHORT, stand_in
from tests.studies import make_experiment, make_study, mlflow_tracker
from tests.tracking.stores import wait_for
from tuners.catalog.finding import checkpoint, open_study
from tuners.cli import main
from tuners.search.database import storage as optuna_storage
from tuners.study.creation import create

Refusal = Callable[..., str]


@pytest.fixture
def refusal(command: Command, tmp_path: Path) -> Refusal:
    """Runs a command that is refused, in a folder: the one line it says."""

    def run(*arguments: str) -> str:
        line = refused(command(*arguments, cwd=tmp_path))
        assert line.isprintable()
        return line

    return run


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


SECRETS = [
    "http://ada:hunter2@host:5000",
    "https://hunter2@host",
    "postgresql://ada:hunter2@host/mlflow",
    "postgresql://ada:hunt/hunter2@host/mlflow",
    "postgresql://host/mlflow?user=ada&password=hunter2",
    "https://host/mlflow?access_token=hunter2",
]


@pytest.mark.parametrize("uri", SECRETS)
def test_addresses_with_secrets_are_refused(refusal: Refusal, tmp_path: Path, uri: str) -> None:
    for arguments in (
        ("run", "cartpole", "--set", f"tracking.uri='{uri}'"),
        ("run", "cartpole", "--set", f"environment.config={{url: '{uri}'}}"),
        ("run", "cartpole", "--set", f"tracking.ury='{uri}'"),
        ("run", "cartpole", "--set", f"tracking.uri=[{uri}"),
        ("run", "cartpole", "--set", f"tracking.uri=['{uri}']"),
        ("run", "cartpole", "--set", f"algorithm.name='{uri}'"),
        ("run", "cartpole", "--set", uri),
        ("run", uri),
        ("ui", "--uri", uri),
    ):
        assert "hunter2" not in refusal(*arguments)
    said = refusal("run", "cartpole", "--set", f"tracking.uri='{uri}'")
    assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
    assert list(tmp_path.iterdir()) == []


def test_addresses_of_clusters_with_secrets_are_refused(refusal: Refusal, tmp_path: Path) -> None:
    for address in ("ray://ada:hunter2@host:10001", "ada:hunter2@host:6379"):
        said = refusal("run", "cartpole", "--address", address)
        assert "resources.address: must be an address without" in said and "hunter2" not in said
        make_study(tmp_path / "s", trials=0)
        said = refusal("resume", "cartpole", "--storage", "s", "--address", address)
        assert "hunter2" not in said


def test_addresses_without_secrets() -> None:
    for uri in (
        *("http://host:5000", "sqlite:////a@b/mlflow.db", "postgresql://ada@host/mlflow"),
        *("auto", "10.0.0.5:6379", "ray://host:10001", "s3://bucket/a@b", "databricks"),
    ):
        assert not holds_credentials(uri)
        assert experiment_file.parse(TINY, [f"tracking.uri='{uri}'"]).tracking.uri == uri
    assert redacted("at http://ada:hunter2@host: no") == "at http://***@host: no"


def written(*folders: Path) -> bytes:
    """Everything in all files of some folders, databases and logs included."""
    files = (path for folder in folders for path in folder.rglob("*"))
    return b"\n".join(path.read_bytes() for path in files if path.is_file())


def test_a_tracker_does_not_tell_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also when the server is away, which is the usual reason to print an address."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada-lovelace")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    folder = make_study(tmp_path, trials=1)
    tracker = mlflow_tracker(folder, make_experiment(), f"http://127.0.0.1:{free_port()}")
    report = tracker.catch_up()
    assert report.problem and report.pending
    told = report.problem + repr(report) + "".join(capfd.readouterr())
    assert "hunter2" not in told and "ada-lovelace" not in told
    assert b"hunter2" not in written(tmp_path)


@pytest.mark.slow
def test_a_password_is_nowhere_in_what_a_study_writes(
    tiny: Any, shared_storage: Path, baseline: Any, tmp_path: Path
) -> None:
    """A small study with a tracking server, whose password is in the environment."""
    uri = f"http://127.0.0.1:{free_port()}"
    temporary = Path(tempfile.mkdtemp(prefix="ps", dir="/tmp"))  # Ray's sockets need short paths
    secrets = {"MLFLOW_TRACKING_USERNAME": "ada-lovelace", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
    shutil.copytree(shared_storage / "baselines", tmp_path / "s" / "baselines")
    experiment = tiny(f"tracking.uri={uri}", "search.trials=1", storage=tmp_path / "s")
    (tmp_path / "mine.yaml").write_text(experiment_file.dump(experiment))
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--port", uri.rsplit(":", 1)[1]),
            *("--host", "127.0.0.1", "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"),
            *("--artifacts-destination", str(tmp_path / "artifacts")),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        from urllib.error import URLError
        from urllib.request import urlopen

        def answers() -> bool:
            try:
                with urlopen(f"{uri}/health", timeout=5):
                    return True
            except (URLError, OSError):
                time.sleep(0.2)
                return False

        wait_for(answers, 120)
        done = subprocess.run(
            [sys.executable, "-m", "tuners.cli", "run", "mine.yaml", "--name", "mine"],
            cwd=tmp_path,
            env={**os.environ, **secrets, "RAY_TMPDIR": str(temporary)},
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told = done.stdout + done.stderr
        assert uri.encode() in told and b"MLflow does not have" not in told
        logs, study = written(temporary), written(tmp_path)
        assert b"raylet" in logs and b"compression" in study  # both are what they should be
        for secret in ("ada-lovelace", "hunter2"):
            assert secret.encode() not in told + logs + study
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(temporary, ignore_errors=True)
