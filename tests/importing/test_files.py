"""A file that is no policy is refused at once: without RLlib, and in words of its own."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from prune_search.errors import UserError
from prune_search.importing.files import check_file, of_stable_baselines, of_torch
from tests.commands import Command, refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.save({"weight": torch.zeros(99)}, tmp_path / "agent.pt")
    whole = (tmp_path / "agent.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "junk.pt").write_bytes(b"hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"weight": [1]}))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("words", "none of a policy")
    (tmp_path / "mine.yaml").write_text("environment: {id: CartPole-v1}")
    return tmp_path


OTHER = "is no file that torch.save or Stable-Baselines3 has written, or is damaged"
TOLD = {
    "agnt.pt": "no file 'agnt.pt', did you mean agent.pt?",
    "no/agent.pt": "no file 'no/agent.pt'",
    ".": "'.' is a folder; give a file",
    "cut.pt": "'cut.pt' is cut off: its end is missing",
    **{name: f"'{name}' {OTHER}" for name in ("junk.pt", "empty.pt", "plain.pt", "other.zip")},
}


@pytest.mark.parametrize("name", TOLD)
def test_each_kind_of_file(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as error:
        check_file(Path(name))
    assert str(error.value) == f"import: {TOLD[name]}"


def test_files_of_torch_are_known_whatever_wrote_them(folder: Path) -> None:
    for protocol in (2, 4):
        path, held = folder / f"{protocol}.pt", {"a": torch.zeros(1)}
        torch.save(held, path, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
        check_file(path)
        assert of_torch(path) and not of_stable_baselines(path)
    check_file(folder / "agent.pt")


def test_other_files_beside_the_policy(command: Command, folder: Path) -> None:
    given = ("import", "agent.pt", "mine.yaml", "--to")
    said = refused(command(*given, "ours", "--normalizer", "agent.pkl", cwd=folder))
    assert "--normalizer: no file 'agent.pkl'" in said
    said = refused(command(*given, "junk.pt", cwd=folder))
    assert "--to: 'junk.pt' exists; give another name" in said


def test_rllib_is_not_loaded_for_what_is_no_policy(folder: Path) -> None:
    code = """
import sys
from tuners.cli import main
sys.argv[:] = ["prune-search", "import", sys.argv[1], "mine.yaml", "--to", "ours"]
try:
    main()
except SystemExit as ended:
    assert ended.code == 2
assert not {"ray", "torch"} & set(sys.modules)
"""
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    for name, told in (("agnt.pt", "did you mean agent.pt?"), ("junk.pt", OTHER)):
        ran = subprocess.run(
            [sys.executable, "-c", code, name],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0 and told in ran.stderr, ran.stderr
