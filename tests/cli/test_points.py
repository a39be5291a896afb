"""A point in hand: how large its files are, which one is recommended, and how it is used."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from ray.rllib.core.rl_module.rl_module import RLModule

import tuners
from prune_search.experiment.file import dump
from prune_search.export.rllib import compacted, policies
from prune_search.packed.file import read
from prune_search.records.checkpoint import MODULES_PATH
from prune_search.records.folder import StudyFolder
from prune_search.records.models import FinalRecord, Point, StudyRecord
from prune_search.records.policy_files import WEIGHTS
from prune_search.rllib.configuration.algorithms import MODULE_PATH
from prune_search.trial.rounds import TrialRounds
from tests.plans import plan
from tests.studies import (
    BASELINE,
    STARTED,
    make_experiment,
    make_point,
    make_study,
    make_trial,
    mlflow_tracker,
    returned,
)
from tuners import cli
from tuners.catalog.finding import open_study
from tuners.report.as_json import to_json
from tuners.report.recommendation import lines, recommended
from tuners.report.study_report import report
from tuners.tracking.mlflow.runs import summary_run
from tuners.tracking.mlflow.tracking import default_uri

PAGE = (Path(__file__).parents[2] / "docs" / "using.md").read_text(encoding="utf-8")
PLANS = {
    "weight": plan(ratio=0.97, scope="actor", critic_ratio=None, env_steps=600),
    "neuron": plan(granularity="neuron", allocation="uniform", env_steps=600),
}
BEGUN = StudyRecord(name="it's one", started=STARTED, baseline=BASELINE)
WITHOUT = """
import sys


class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        hidden = name.partition(".")[0] in {hidden}
        return None if hidden else self.finder.find_spec(name, *rest)


sys.meta_path[:] = map(Hiding, sys.meta_path)
"""


@pytest.fixture(scope="module")
def storage(tiny: Any, baseline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of single weights, of neurons, and of both, whose trials have three rounds."""
    storage: Path = tmp_path_factory.mktemp("points") / "studies"
    for number, (name, chosen) in enumerate(PLANS.items(), 2):
        folder = StudyFolder(storage, name)
        rounds = TrialRounds(tiny(), folder, baseline, number, chosen)
        while not rounds.done:
            rounds.step()
        rounds.stop()
        shutil.copytree(folder.path, storage / "mixed", dirs_exist_ok=True)
    for name in (*PLANS, "mixed"):
        folder = StudyFolder(storage, name)
        folder.write_study(StudyRecord(name=name, started=0.0, baseline=baseline))
        folder.experiment_file.write_text(dump(tiny()))
    return storage


def command(capsys: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["prune-search", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    return str(capsys.readouterr().out)


def bytes_of(folder: Path) -> int:
    return (folder / "default_policy" / WEIGHTS).stat().st_size


@pytest.mark.parametrize("name", [*PLANS, "mixed"])
def test_bytes_before_and_after_are_those_on_disk(
    storage: Path, name: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each point of the front, and of the dense baseline, in every place that tells them."""
    monkeypatch.chdir(tmp_path)
    at = ["--storage", str(storage)]
    shown = json.loads(command(capsys, monkeypatch, "show", name, "--json", *at))
    text = command(capsys, monkeypatch, "show", name, *at)
    dense = bytes_of(Path(shown["baseline"]["checkpoint"]) / MODULES_PATH)
    for item in [{**shown["baseline"], "point": "baseline"}, *shown["front"]]:
        point, checkpoint = item["point"], Path(item["checkpoint"])
        algorithm = checkpoint if point == "baseline" else checkpoint / "algorithm"
        before = bytes_of(algorithm / MODULES_PATH)
        said = command(capsys, monkeypatch, "compact", name, point, "--to", f"c/{point}", *at)
        after = bytes_of(Path("c", point))
        assert (item["stored_bytes"], item["compact_bytes"]) == (before, after), point
        assert after < before <= dense
        assert f"{before:,} bytes, including zeros and any critic -> {after:,} bytes" in said
        assert re.search(rf"{before:,} +{after:,}$", text, re.MULTILINE), text
        said = command(capsys, monkeypatch, "restore", name, point, "--to", f"r/{point}", *at)
        assert bytes_of(Path("r", point) / MODULES_PATH) == before
        if point != "baseline":
            assert f"{dense:,} bytes of the dense baseline -> {before:,} bytes" in said
            arguments = ("restore", name, point, "--dense", "--to", f"d/{point}", *at)
            said = command(capsys, monkeypatch, *arguments)
            assert f"{before:,} bytes -> {bytes_of(Path('d', point)):,} bytes" in said


def test_single_weights_are_stored_whole_and_neurons_are_not(
    storage: Path, baseline: Any, tmp_path: Path
) -> None:
    """As the README says; and what compaction takes out of them changes nothing."""
    weights, neurons = (last_point(storage, name) for name in PLANS)
    assert weights.stored_bytes == baseline.stored_bytes > neurons.stored_bytes
    assert weights.compact_bytes < baseline.compact_bytes < baseline.stored_bytes
    assert weights.compact < weights.physical == weights.parameters
    assert weights.compact_nonzero <= weights.nonzero
    path = storage / "weight" / weights.checkpoint / "algorithm"
    found = compacted(policies(path))["default_policy"]
    assert (found.left, found.left_nonzero) == (weights.compact, weights.compact_nonzero)
    batch = {"obs": torch.randn(64, 4)}
    before = RLModule.from_checkpoint(path / MODULE_PATH).forward_inference(batch)
    torch.testing.assert_close(
        found.module.forward_inference(batch)["action_dist_inputs"],
        before["action_dist_inputs"],
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_point_leaves_as_a_file_that_is_measured(
    storage: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    monkeypatch.chdir(tmp_path)
    at = ["--storage", str(storage), "--observations", "50"]
    point = last_point(storage, "neuron")
    said = command(capsys, monkeypatch, "export", "neuron", point.name, "--to", "c", *at)
    path = f"neuron-{point.name.replace('/', '-')}-c"
    assert f"neuron {point.name} as c: {path}, " in said
    assert "actions for 50 observations: 100.00% are those of RLlib" in said
    found = json.loads(command(capsys, monkeypatch, "evaluate", path, "--json"))
    assert found["return"] == pytest.approx(point.returned.value)
    assert found["retention"] == pytest.approx(point.retention)

    wished = ("--min-retention", "-9", "--max-bytes", "20000", "--json", "--out", "wished.onnx")
    found = json.loads(command(capsys, monkeypatch, "export", "neuron", *wished, *at))
    front = report(*open_study(str(storage), "neuron")).front
    assert found["point"] == min(front, key=lambda item: item.point.nonzero).point.name
    assert found["bytes"] == Path("wished.onnx").stat().st_size
    same = tuners.open(storage / "neuron").point(point.name).export("onnx", observations=50)
    assert same.agreement.equal == 1 and same.path == Path(path.replace("-c", ".onnx"))


@pytest.mark.slow
def test_a_file_has_levels_each_with_its_return(
    storage: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    """Both targets; what is told of a level is what the file itself returns at it."""
    monkeypatch.chdir(tmp_path)
    at = ["--storage", str(storage), "--observations", "50", "--anyway"]
    point = open_study(str(storage), "neuron")[0].points()["t03/0"]
    for to in ("c", "packed"):
        asked = ("export", "neuron", point.name, "--to", to, "--levels", "90,80", "--json")
        trained = ["--env-steps", "1600"] if to == "packed" else []
        found = json.loads(command(capsys, monkeypatch, *asked, *trained, *at))
        notes = [note for note in found["notes"] if "levels trained together for 2,0" in note]
        assert len(notes) == bool(trained)
        sparse, middle, dense = found["levels"]
        assert sparse["sparsity"] == pytest.approx(0.9, abs=2e-3)
        assert middle["sparsity"] == pytest.approx(0.8, abs=2e-3)
        assert dense["nonzero"] == found["nonzero"]
        assert dense["returned"]["value"] == pytest.approx(found["returned"]["value"], rel=1e-5)
        assert found["bytes"] < found["separate"]["bytes"]
        assert (found["separate"]["constants"] is None) == (to == "packed")
        asked = ("evaluate", found["path"], "--level", "0", "--json")
        again = json.loads(command(capsys, monkeypatch, *asked))
        assert again["return"] == pytest.approx(sparse["returned"]["value"], rel=1e-5)
        assert again["nonzero"] == sparse["nonzero"]
    for wrong, message in (
        (
            ("--levels", "99.9"),
            "--levels: 99.9 is no level of its own: they lie above the policy's",
        ),
        (("--levels", "90,x"), "--levels: must be percentages, such as 90,95, got '90,x'"),
        (("--env-steps", "9"), "--env-steps: it trains the levels of a point; name it, and"),
        (("--levels", "90,90"), "--levels: must be different percentages"),
        (("--levels", "90", "--to", "onnx"), "target onnx has no place for levels; these have: c,"),
    ):
        given = ("export", "neuron", point.name, "--to", "c", *wrong, "--out", "wrong")
        monkeypatch.setattr(sys, "argv", ["prune-search", *given, *at])
        with pytest.raises(SystemExit):
            cli.main()
        assert message in " ".join(capsys.readouterr().err.split()) and not Path("wrong").exists()


@pytest.mark.slow
def test_a_point_is_compressed_stage_by_stage(
    storage: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    monkeypatch.chdir(tmp_path)
    at = ["--storage", str(storage), "--anyway"]
    point = last_point(storage, "weight")
    said = command(capsys, monkeypatch, "compress", "weight", point.name, "--bits", "8", *at)
    path = Path(f"weight-{point.name.replace('/', '-')}.packed")
    size = path.stat().st_size
    assert f"network_sharing of 8 bits: {path}, {size:,} bytes, " in said
    assert "times smaller than the dense policy's" in said and "pruned " in said
    found = json.loads(command(capsys, monkeypatch, "evaluate", str(path), "--json"))
    assert (found["bytes"], found["target"]) == (size, "packed")
    assert f"the file returns {found['return']:.2f} " in said

    asked = ("--method", "uniform", "--bits", "2", "--out", "two.packed", "--json")
    two = json.loads(command(capsys, monkeypatch, "compress", "weight", point.name, *asked, *at))
    assert two["bytes"] == Path("two.packed").stat().st_size < two["dense_bytes"] / 4
    assert two["bits"] == 2 and two["dense_bytes"] > two["pruned_bytes"] > 0
    assert min(two["coded_bytes"].values()) <= two["bytes"]
    assert two["fine_tuning"] is None

    tuned = ("--bits", "2", "--env-steps", "600", "--out", "tuned.packed")
    said = command(capsys, monkeypatch, "compress", "weight", point.name, *tuned, *at)
    size = Path("tuned.packed").stat().st_size
    found = re.search(r"fine-tuned for (\S+) env steps: (\d+) of (\d+) weights changed", said)
    assert found and 0 < int(found[2]) <= int(found[3])
    assert f"; {size:,} bytes, " in said and "on the final seeds it returns " in said
    noted = read(Path("tuned.packed")).about["notes"]
    assert noted == [f"fine-tuned for {found[1]} env steps"]


@pytest.mark.slow
def test_a_point_becomes_a_version_of_a_registered_model(
    storage: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    """By name and by wish; linked to its trial's run, whose round's figures are the model's."""
    shutil.copytree(storage / "neuron", tmp_path / "studies" / "neuron")
    folder, experiment = open_study(str(tmp_path / "studies"), "neuron")
    uri = default_uri(folder.path.parent)
    tracker = mlflow_tracker(folder, experiment, uri)
    tracker.start()
    runs = tracker.finish(timeout_s=100).where.runs
    point = last_point(tmp_path / "studies", "neuron")
    monkeypatch.chdir(tmp_path)
    at = ["register", "neuron", "--observations", "50"]
    said = command(capsys, monkeypatch, *at, point.name, "--as", "pole balancer")
    assert f"version 1 of 'pole balancer' in MLflow at {uri}" in said
    assert f"an output of run {runs['t03']}; to serve it:" in said
    assert f"MLFLOW_TRACKING_URI={uri} mlflow models serve -m 'models:/pole balancer/1'" in said
    wished = [*at, "--min-retention", "-9", "--to", "packed", "--anyway", "--json"]
    found = json.loads(command(capsys, monkeypatch, *wished))
    assert (found["uri"], found["target"]) == ("models:/neuron/1", "packed")

    client = MlflowClient(uri)
    tags = client.get_model_version("pole balancer", "1").tags
    assert (tags["study"], tags["point"], tags["trial"]) == ("neuron", point.name, "t03")
    assert float(tags["sparsity"]) == pytest.approx(point.sparsity, abs=1e-6)
    assert float(tags["return"]) == pytest.approx(point.returned.value)
    assert float(tags["return_low"]) <= float(tags["return"]) <= float(tags["return_high"])
    assert {"dense_return", "retention", "bytes"} <= tags.keys()
    run = client.get_run(runs["t03"])
    assert run.info.status == "FINISHED" and len(run.outputs.model_outputs) >= 1
    model = client.get_logged_model(run.outputs.model_outputs[-1].model_id)
    figures = {metric.key: metric.value for metric in model.metrics}
    assert figures["rounds/nonzero_parameters"] in {p.nonzero for p in folder.trials()[0].points}
    again = tuners.open(folder.path).point(point.name).register("pole balancer", observations=50)
    assert again.uri == "models:/pole balancer/2" and again.run == runs["t03"]


def last_point(storage: Path, name: str) -> Point:
    [trial] = StudyFolder(storage, name).trials()
    return trial.points[-1]


@pytest.mark.slow
def test_the_page_on_using_a_policy_runs(
    storage: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    """Block by block: acting by hand, without what the page says it does without, agrees."""
    shutil.copytree(storage / "mixed", tmp_path / "studies" / "cartpole")
    monkeypatch.chdir(tmp_path)
    printed = []
    missing = iter(["('prune_search',)", None, "('prune_search', 'ray')"])
    for language, block in re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL):
        if language == "bash":
            for line in block.replace("t03/2", "t02/2").splitlines():
                _, *arguments = shlex.split(line, comments=True)
                command(capsys, monkeypatch, *arguments)
        elif (hidden := next(missing)) is None:
            exec(block, {})
            assert len(capsys.readouterr().out.split()) == 2
        else:
            code = WITHOUT.replace("{hidden}", hidden) + block
            ended = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False
            )
            assert ended.returncode == 0, ended.stderr
            printed.append(float(ended.stdout))
    acted, alone = printed
    assert acted == alone > 0


def made(storage: Path, *returns: float) -> StudyFolder:
    """A study of one trial, whose points have these returns at ever more sparsity."""
    folder = make_study(storage, trials=0, name="it's one")
    sparsities = (0.5, 0.7, 0.9, 0.97)
    points = [
        make_point(3, n, s, r) for n, (s, r) in enumerate(zip(sparsities, returns, strict=False))
    ]
    folder.write_trial(make_trial(3, points=points))
    return folder


@pytest.mark.parametrize("ended", [False, True])
def test_the_sparsest_point_that_holds_is_recommended(tmp_path: Path, ended: bool) -> None:
    """On the final seeds once there are some; its commands can be pasted into a shell."""
    folder = made(tmp_path / "a b", 499, 497, 495, 300)
    if ended:
        finals = zip(("t03/0", "t03/1", "t03/2", "t03/3"), (490, 488, 430, 200), strict=True)
        record = FinalRecord(
            baseline=returned(498, 100),
            random=returned(21, 100),
            points={name: returned(value, 100) for name, value in finals},
        )
        folder.write_final(record)
    found = report(folder, make_experiment())
    taken = recommended(found)
    assert taken is not None and taken.holds and taken.final == ended
    expected = "t03/1" if ended else "t03/2"  # that one was lucky on the seeds that chose it
    assert taken.point.name == to_json(found)["recommended"] == expected
    first, take, play, act = lines(found)
    assert Path(act.partition(": ")[2].partition(", with")[0]).read_text() == PAGE
    assert first.startswith(f"recommended: {expected}, ")
    words = ["it's one", expected, "--storage", str(tmp_path / "a b")]
    for line, verb in ((take, "restore"), (play, "evaluate")):
        assert shlex.split(line.partition("  prune-search ")[2]) == [verb, *words]
    note = summary_run(BEGUN, found, make_experiment(), over=True).tags["mlflow.note.content"]
    assert take.partition("  prune-search ")[2] in note


def test_without_a_point_that_holds_the_one_that_keeps_most_is_named(tmp_path: Path) -> None:
    found = report(made(tmp_path, 300, 200, 100, 50), make_experiment())
    taken = recommended(found)
    assert taken is not None and not taken.holds and taken.point.name == "t03/0"
    assert lines(found)[0].endswith(
        "no point of the front keeps at least 95%; this one keeps the most"
    )
    near = lines(report(made(tmp_path / "near", 475.97), make_experiment()))[0]
    assert "retention 94.99% on" in near  # one digit less, and it would be what was wished
    empty = report(made(tmp_path / "none"), make_experiment())
    assert recommended(empty) is None and lines(empty) == []
