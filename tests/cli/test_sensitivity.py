"""`prune-search sensitivity` on a real policy, and on a user's mistakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prune_search.experiment import file as experiment_file
from prune_search.records.folder import StudyFolder
from prune_search.records.layer_curves import SensitivityPoint, SensitivityRecord
from prune_search.records.models import StudyRecord
from prune_search.records.returns import Return
from prune_search.trial.sensitivity.scan import sensitivity_of
from tests.conftest import TINY
from tuners.cli import main
from tuners.plots.sensitivity import sensitivity_figure, sensitivity_html

ENCODER, PI = "encoder.actor_encoder.net.mlp", "pi.net.mlp.0.weight"
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Runs `prune-search sensitivity` as its entry point does: status, output, errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["prune-search", "sensitivity", *arguments])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def study(tiny: Any, baseline: Any, tmp_path: Path) -> StudyFolder:
    """A study whose baseline is there and that has no trials yet, of short episodes."""
    folder = StudyFolder(tmp_path / "s", "study")
    folder.write_study(StudyRecord(name="study", started=0.0, baseline=baseline))
    experiment = tiny("evaluation.max_steps=64", storage=tmp_path / "elsewhere")
    folder.experiment_file.write_text(experiment_file.dump(experiment), encoding="utf-8")
    return folder


def test_a_study(command: Command, study: StudyFolder, baseline: Any, tmp_path: Path) -> None:
    storage = ("--storage", str(tmp_path / "s"))
    status, printed, error = command("study", *storage, "--plot", "curves.png")
    assert (status, error) == (0, "")
    path = study.path / "sensitivity" / "weight-magnitude.json"
    record = SensitivityRecord.read(path)
    assert record is not None
    for layer, points in record.points.items():
        row = next(line for line in printed.splitlines() if line.startswith(layer))
        assert row.split()[1:] == [
            str(record.weights[layer]),
            *(f"{point.retention:.1%}" for point in points),
        ]
    assert printed.splitlines()[-1] == record.verdict
    assert f"Most sensitive: {record.ranking[0]}" in printed
    assert f"least sensitive: {record.ranking[-1]}" in printed
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    # What trials of the study read is what the command measured, and the other way round.
    changed = record.model_copy(update={"environment": "read"})
    changed.write(path)
    status, printed, error = command("study", *storage, "--json")
    told = json.loads(printed)
    assert status == 0 and told["environment"] == "read"
    assert told["most_sensitive"] == record.ranking[0]
    assert SensitivityRecord.model_validate(told) == changed
    experiment = experiment_file.parse(study.experiment_file.read_text())
    found = sensitivity_of(experiment, path, baseline, "weight", "magnitude")
    assert found == changed
    # Other episodes are another measurement, which the trials' does not give way to.
    status, printed, _ = command("study", *storage, "--json", "--episodes", "3")
    other = SensitivityRecord.model_validate_json(printed)
    assert status == 0 and other.episodes == other.dense.episodes == 3
    assert SensitivityRecord.read(path) == changed


def test_an_experiment_without_a_study(
    command: Command, baseline: Any, shared_storage: Path, tmp_path: Path
) -> None:
    """Takes the dense policy that is there; units, as a page."""
    (tmp_path / "mine.yaml").write_text(TINY)
    options = ("--storage", str(shared_storage), "--granularity", "neuron", "--plot", "x.html")
    before = {path.name for path in shared_storage.glob("*")}
    status, printed, error = command("mine.yaml", *options, "--episodes", "2")
    assert (status, error) == (0, "")
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("encoder")] == [
        f"{ENCODER}.0.weight",
        f"{ENCODER}.2.weight",
    ]
    assert "at 81.2%" in printed and "at 93.8%" in printed and PI not in printed
    assert ENCODER in (tmp_path / "x.html").read_text()
    assert {path.name for path in shared_storage.glob("*")} == before


def test_trains_what_is_missing(command: Command, local_ray: None, tmp_path: Path) -> None:
    experiment = TINY.replace("env_steps: 6000", "env_steps: 1000").replace(
        "episodes: 6,", "episodes: 6, max_steps: 64,"
    )
    (tmp_path / "mine.yaml").write_text(experiment)
    status, printed, error = command("mine.yaml", "--storage", "new", "--granularity", "2:4")
    assert (status, error) == (0, "")
    assert printed.splitlines()[1].split() == ["layer", "weights", "50%", "80%", "90%", "95%",
                                               "98%", "99%"]  # fmt: skip
    (record,) = (tmp_path / "new" / "baselines").glob("*/baseline.json")
    assert (record.parent / "sensitivity" / "2-of-4-magnitude.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study", "--criterion", "magic"], "--criterion: unknown 'magic'; known are: activ"),
        (["study", "--criterion", "l1_norm"], "it scores whole units; allowed are neuron, filter"),
        (["study", "--criterion", "threshold"], "magnitude ranks weights as it does"),
        (["study", "--granularity", "x"], "--granularity: unknown 'x'; known are: 1:4, 2:4"),
        (["study", "--granularity", "filter"], "no layer of the policy that pruning.layers allows"),
        (["study", "--plot", "x.bmp"], "--plot: must end in .png, .svg, .pdf or .html"),
        (["study", "--plot", "no/x.png"], "--plot: no folder 'no'"),
        (["nowhere"], "unknown 'nowhere'; studies in"),
        (["nowhere.yaml"], "experiment: no file 'nowhere.yaml'"),
        (
            ["wide.yaml"],
            "resources.env_runners: the baseline and each trial need 99 CPUs, and this",
        ),
    ],
)
def test_mistakes(
    command: Command, study: StudyFolder, tmp_path: Path, arguments: list[str], message: str
) -> None:
    wide = TINY.replace("resources: {", "resources: {env_runners: 99, ")
    (tmp_path / "wide.yaml").write_text(wide)
    status, printed, error = command(*arguments, "--storage", str(tmp_path / "s"))
    assert (status, printed) == (2, "")
    assert len(error.strip().splitlines()) == 1 and error.startswith("prune-search: ")
    assert message in error
    assert not (study.path / "sensitivity").exists() or "filter" in arguments


def made(layers: int) -> SensitivityRecord:
    """A scan of many layers, the first of which suffers most."""

    def point(asked: float, number: int) -> SensitivityPoint:
        kept = 1 - asked ** (1 + number)
        returned = Return(
            iqm=20 + 480 * kept, low=20 + 470 * kept, high=20 + 500 * kept, episodes=6
        )
        return SensitivityPoint(asked=asked, ratio=asked, retention=kept, returned=returned)

    names = [f"net.{number}<b>.weight" for number in range(layers)]
    return SensitivityRecord(
        environment="CartPole-v1",
        granularity="weight",
        criterion="magnitude",
        baseline="0123",
        layers=["*"],
        seed=0,
        episodes=6,
        dense=Return(iqm=500.0, low=490.0, high=500.0, episodes=6),
        random=Return(iqm=20.0, low=18.0, high=22.0, episodes=6),
        weights=dict.fromkeys(names, 1000),
        points={
            name: [point(asked, number) for asked in (0.5, 0.8, 0.9)]
            for number, name in enumerate(names)
        },
        flat=["critic.weight"],
    )


def test_pictures_tell_every_layer_from_the_others() -> None:
    record = made(20)
    figure = sensitivity_figure(record)
    drawn = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 4]
    lines = [line for line in drawn if line.get_linestyle() != "None"]  # caps of intervals
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}
    assert len(lines) == len(looks) == 20
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"net.{number}<b>" for number in range(20)
    ]
    for line, layer in zip(lines, record.points, strict=True):
        kept = [1.0, *(point.retention for point in record.points[layer])]
        assert list(line.get_ydata()) == kept
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [
        "0 %", "50 %", "80 %", "90 %"
    ]  # fmt: skip
    page = sensitivity_html(record)
    assert "net.19&lt;b&gt;" in page and "net.19<b>" not in page


def test_verdicts() -> None:
    assert made(3).verdict == (
        "Most sensitive: net.0<b>.weight, retention 26.7% on average over its ratios;"
        " least sensitive: net.2<b>.weight, 54.5%."
    )
    assert made(1).verdict == "The only layer keeps a retention of 26.7% on average."
