"""What an installed package carries: the page that its messages name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from prune_search.import_paths import page

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_an_installed_package_names_a_page_that_is_there(tmp_path: Path) -> None:
    """Built from a copy, as building leaves files in the checkout; installed without a network."""
    source, home = tmp_path / "source", tmp_path / "home"
    left_out = shutil.ignore_patterns("__pycache__")
    for folder in ("prune_search", "tuners", "docs"):
        shutil.copytree(ROOT / folder, source / folder, ignore=left_out)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--quiet"]
    options = ["--no-deps", "--no-index", "--no-build-isolation"]
    # Without isolation setuptools is what this Python has.
    wheel = [sys.executable, "-m", "pip", "--quiet", "wheel", *options, "-w", tmp_path, source]
    subprocess.run(wheel, check=True, cwd=tmp_path)
    (built,) = tmp_path.glob("prune_search-*.whl")
    with zipfile.ZipFile(built) as wheel:
        packed = set(wheel.namelist())
    for package in ("prune_search", "tuners"):  # pages' templates and words, presets, scripts
        files = (path for path in (source / package).rglob("*") if path.is_file())
        assert {path.relative_to(source).as_posix() for path in files} - packed == set()
    # pip finds what lies on PYTHONPATH already installed.
    apart = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    install = [*pip, "install", "--no-deps", "--no-index", built]
    subprocess.run(install, check=True, cwd=tmp_path, env=apart)
    code = (
        "import prune_search.import_paths as paths; print(paths.page('using.md'), paths.__file__)"
    )
    asked = subprocess.run(
        [home / "bin" / "python", "-c", code],
        cwd=tmp_path,
        env=apart,
        check=False,
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    told = asked.stdout.split()
    assert all(Path(path).is_relative_to(home) for path in told)
    assert Path(told[0]).read_text() == (ROOT / "docs" / "using.md").read_text()


def test_a_checkout_names_its_own_page() -> None:
    assert page("using.md") == ROOT.resolve() / "docs" / "using.md"
    assert page("none.md") is None
