"""The pages: whatever they name exists, their lines fit, and the index has all of them."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import BEGIN, END, PAGE, ROOT, House

NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("cluster/*.md")]
_CODE = re.compile(r"```.*?```", re.DOTALL)
_WIDEST = 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        other = (page.parent / name) if name else page
        if not other.exists() or (heading and heading not in _headings(other)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_lines_fit(page: Path) -> None:
    """Tables, code and lines of one long word are as long as they are."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > _WIDEST and " " in line.strip()] == []


@pytest.mark.parametrize(
    "page", [*PAGES, *NOTEBOOKS], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_what_is_imported_exists(page: Path) -> None:
    """Of this project's packages: other tests run what is written there, but rarely."""
    missing = []
    for node in (node for code in _python(page) for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.ImportFrom) and node.module and _is_own(node.module):
            module = importlib.import_module(node.module)
            missing += [each.name for each in node.names if not hasattr(module, each.name)]
        elif isinstance(node, ast.Import):
            for each in filter(_is_own, (each.name for each in node.names)):
                importlib.import_module(each)
    assert missing == []


def test_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [page.name for page in sorted(ROOT.glob("docs/*.md")) if page.name != "README.md"]
    assert [page for page in pages if f"]({page})" not in index] == []


def test_everything_on_the_page_of_the_architecture_exists() -> None:
    """Files by their path, functions in the file that is named before them, classes anywhere."""
    house = House()
    names = {module: set(_defined(tree)) for module, tree in house.trees.items()}
    anywhere = {name for found in names.values() for name in found}
    missing = []
    text = PAGE.read_text(encoding="utf-8")
    written = text.partition(BEGIN)[0] + text.partition(END)[2]
    for item in re.split(r"\n\s*\n|\n(?=\d+\. )", written):
        here = anywhere
        for word in re.findall(r"`([^`\s]+)`", item):
            if "/" in word:
                exists = "<" in word or (ROOT / word).exists()
                here = names.get(word.removesuffix(".py").replace("/", "."), anywhere)
            elif word[0].isupper() and "." not in word:
                exists = word in anywhere
            else:
                exists = word in here or word in _OTHER_WORDS or word in house.packages
            if not exists:
                missing.append(f"{word}, in: {item.strip()[:60]} ...")
    assert missing == []


_OTHER_WORDS = {"__init__.py", "--set", "pruning.ratio", "trial.json"}
"""What the page names that is no file or function of the packages."""


def _python(page: Path) -> list[str]:
    """Code in Python that a page shows, or that a notebook runs."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return [re.sub(r"^[%!].*$", "", "".join(cell["source"]), flags=re.M) for cell in cells]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def _is_own(module: str) -> bool:
    return module.partition(".")[0] in ("prune_search", "tuners", "cluster")


def _defined(tree: ast.Module) -> Iterator[str]:
    """Functions, classes, constants and fields at the top, and `Class.member` below them."""
    for node in tree.body:
        yield from _named(node)
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                yield from (f"{node.name}.{name}" for name in _named(inner))


def _named(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    if page.suffix != ".md":
        return set()
    found = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
