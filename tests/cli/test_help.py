"""What the command says of itself, and of the studies there are."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from prune_search.errors import UserError
from prune_search.experiment import file as experiment_file
from prune_search.experiment.problems import paths
from prune_search.experiment.schema import Experiment
from prune_search.records.folder import StudyFolder
from tests.commands import Command, refused
from tests.studies import end_study, make_study
from tuners.catalog.lock import driven, driving


def listed(command: Command, *arguments: str, cwd: Path) -> list[str]:
    """The commands that a command's help lists, in order."""
    return re.findall(r"│ ([a-z][a-z-]*) {2,}\S", command(*arguments, "--help", cwd=cwd).out)


def test_help_begins_with_run_and_ends_with_schema(command: Command, tmp_path: Path) -> None:
    said = command("--help", cwd=tmp_path)
    names = listed(command, cwd=tmp_path)
    assert names[0] == "run" and names[-1] == "schema" and len(names) == 18
    assert "prune-search run noisy-cartpole" in said.out and "--version" in said.out
    assert "--install-completion" in said.out and said.status == 0
    for name in (
        "run",
        "show",
        "report",
        "evaluate",
        "restore",
        "compact",
        "compress",
        "export",
        "register",
        "robustness",
        "sensitivity",
    ):
        assert "Examples:" in command(name, "--help", cwd=tmp_path).out
    assert "'pruning.granularity=[weight, neuron]'" in command("run", "--help", cwd=tmp_path).out
    assert command("--version", cwd=tmp_path).out == f"prune-search {version('prune-search')}\n"
    assert "Usage" in command(cwd=tmp_path).out


def test_the_page_of_commands_has_all(command: Command, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
    studies, benchmarks = page.split("## Benchmarks")
    for arguments, named, begins in (
        ((), studies, "`prune-search {}"),
        (("benchmark",), benchmarks, "`{}`"),
    ):
        names = set(listed(command, *arguments, cwd=tmp_path)) - {"benchmark"}
        assert len(names) > 15
        assert {name for name in names if begins.format(name) not in named} == set()


def test_what_is_typed_is_completed(tmp_path: Path) -> None:
    """Commands, presets, studies and points, as bash asks for them."""
    make_study(tmp_path / "studies", trials=1)

    def completed(line: str) -> list[str]:
        asking = {
            "_PRUNE_SEARCH_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        }
        result = subprocess.run(
            [Path(sys.executable).with_name("prune-search")],
            cwd=tmp_path,
            env={**os.environ, **asking},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return result.stdout.split()

    assert completed("prune-search res") == ["resume", "restore"]
    assert completed("prune-search run noisy") == ["noisy-cartpole"]
    assert completed("prune-search show ca") == ["cartpole"]
    assert completed("prune-search evaluate cartpole b") == ["baseline"]


def test_the_schema_is_for_reading(command: Command, tmp_path: Path) -> None:
    schema = command("schema", cwd=tmp_path).out
    comments = [line for line in schema.splitlines() if line.lstrip().startswith("#")]
    assert max(map(len, comments)) <= 80
    flat = " ".join(" ".join(comments).replace("# ", "").split())
    assert "(list of str)" in flat and "(mapping of str to list of str or null)" in flat
    for inside in ("list[", "dict[", "Any", "(Stopping", "(Scheduler", "None"):
        assert inside not in schema
    assert "cartpole: " in command("presets", cwd=tmp_path).out
    assert command("presets", "cartpole", cwd=tmp_path).out.startswith("description:")
    assert "did you mean acrobot?" in refused(command("presets", "acrobat", cwd=tmp_path))


def test_studies_are_listed_with_what_they_are_doing(command: Command, tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    end_study(make_study(storage, name="done"))
    make_study(storage, name="killed")
    (storage / "new").mkdir()
    (storage / "new" / "experiment.yaml").write_text("environment: {id: CartPole-v1}\n")
    going = make_study(storage, name="going")
    with driving(going):
        found = json.loads(command("list", "--json", cwd=tmp_path).out)
        text = command("list", cwd=tmp_path).out
    states = {one["name"]: one["state"] for one in found}
    assert states == {"done": "ended", "killed": "stopped", "new": "stopped", "going": "running"}
    best = next(one for one in found if one["name"] == "done")["best"]
    assert best["point"] in text and f"{best['sparsity']:.2%}" in text and best["final_return"]
    assert "prune-search resume NAME goes on" in text


def test_a_study_has_one_driver(tmp_path: Path) -> None:
    """One that is killed leaves nothing behind that would keep the next one out."""
    folder = make_study(tmp_path)
    script = (
        "import sys, time\nfrom prune_search.records.folder import StudyFolder\n"
        "from tuners.catalog.lock import driving\n"
        "with driving(StudyFolder(sys.argv[1], 'cartpole')): print('drives', flush=True);"
        " time.sleep(100)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "drives\n"
        assert driven(folder)
        with pytest.raises(UserError, match="'cartpole' is running already"), driving(folder):
            pass
        other.kill()
    assert not driven(folder)
    with driving(folder):
        assert driven(StudyFolder(tmp_path, "cartpole"))


def test_no_message_is_pydantics() -> None:
    """Each field, given what it is not."""
    for name in paths(Experiment):
        for value in ("[[1]]", "{a: {b: 1}}", "-1", "x", "null", "[]", "''"):
            try:
                experiment_file.parse("environment: {id: CartPole-v1}", [f"{name}={value}"])
            except UserError as error:
                assert "nput should" not in str(error), error
                assert not re.search(r"dictionary|instance|parse|NoneType", str(error)), error
