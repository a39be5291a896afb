"""The pages as a site: built without a warning, from nowhere but this repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(  # mkdocs.yml says that each warning, such as a dead link, is an error
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_all_pages_are_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    pages = {page.stem for page in ROOT.glob("docs/*.md")} - {"README"}
    assert {page for page in pages if f'href="{page}/"' not in home} == set()


def test_the_reference_is_of_the_code(site: Path) -> None:
    names = {
        "python": [
            "prune_search.load",
            "tuners.run",
            "prune_search.sparsity.masks.MaskSet",
            "&gt;&gt;",
        ],
        "commands": ["prune-search export", "prune-search benchmark search", "--min-retention"],
        "experiment-file": ["granularity", "quantized_from", "rllib_schedules"],
    }
    for page, expected in names.items():
        text = (site / "reference" / page / "index.html").read_text(encoding="utf-8")
        assert [name for name in expected if name not in text] == []


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = _Loads()
        found.feed(page.read_text(encoding="utf-8"))
        assert found.addresses == [], page


class _Loads(HTMLParser):
    """Addresses of other servers that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe"):
            self.addresses += [v for _, v in attrs if v and re.match(r"(https?:)?//", v)]
