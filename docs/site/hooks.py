"""What MkDocs is told about pages that lie elsewhere, and about those that are written by code."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_PAGES = {
    "README.md": "index.md",
    "docs/README.md": "index.md",
    "cluster/README.md": "cluster.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages outside of the folder of pages, and where they are on the site."""
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_WRAPPED = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff*])")
"""Where a line of Chinese ends, which a browser would show as a space."""
_PYTHON = """# Python

Names that are meant for others. `prune_search` is for one trial and its policy, `tuners` for
studies.

{modules}
"""
_MODULES = (
    "prune_search",
    "tuners",
    "prune_search.sparsity",
    "prune_search.compression",
    "prune_search.keras",
)
_LAZY = ("prune_search.sparsity", "prune_search.compression")
"""Of these, those whose names only show when they are asked for."""


def on_files(files: Files, config: Any) -> Files:
    """Adds what lies elsewhere, and what code writes."""
    for path, place in _PAGES.items():
        if path != "docs/README.md":
            _add(files, config, place, (ROOT / path).read_text(encoding="utf-8"))
    for path in _linked():
        _add(files, config, f"source/{path}", (ROOT / path).read_bytes())
    _add(files, config, "reference/experiment-file.md", _experiment_file())
    _add(files, config, "reference/commands.md", _commands())
    modules = "\n\n".join(_python(name) for name in _MODULES)
    _add(files, config, "reference/python.md", _PYTHON.format(modules=modules))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links, which are right in the repository, to where things are on the site."""
    source = next((p for p, place in _PAGES.items() if place == page.file.src_uri), None)
    if source is None:
        source = f"docs/{page.file.src_uri}"
    up = "../" * (len(PurePosixPath(page.file.src_uri).parts) - 1)

    def turned(found: re.Match[str]) -> str:
        text, (target, hash_, heading) = found[1], found[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return found[0]
        path = _resolved(source, target)
        if (ROOT / path).is_dir():  # there are no pages of folders
            return text
        return f"[{text}]({up}{_place(path)}{hash_}{heading})"

    if page.file.src_uri.endswith(".zh.md"):
        markdown = _WRAPPED.sub("", markdown)
    return _LINK.sub(turned, markdown)


def _add(files: Files, config: Any, place: str, content: str | bytes) -> None:
    files.append(File.generated(config, place, content=content))


def _resolved(source: str, target: str) -> str:
    """Path in the repository of a link in a page that lies there."""
    return ((ROOT / source).parent / target).resolve().relative_to(ROOT).as_posix()


def _place(path: str) -> str:
    """Where a file of the repository is on the site."""
    if path in _PAGES:
        return _PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"source/{path}"


def _linked() -> set[str]:
    """Files of the repository, other than pages, that pages lead to."""
    found = set()
    for page in [*ROOT.glob("docs/*.md"), *(ROOT / path for path in _PAGES)]:
        for _, target in _LINK.findall(page.read_text(encoding="utf-8")):
            name = target.partition("#")[0]
            if name and not re.match(r"[a-z]+:", name):
                found.add(_resolved(page.relative_to(ROOT).as_posix(), name))
    files = {path for path in found if (ROOT / path).is_file() and not path.startswith("docs/")}
    return files - _PAGES.keys()


def _experiment_file() -> str:
    from prune_search.experiment import file

    return (
        "# The experiment file\n\nAs `prune-search schema` prints it; `--json` gives a JSON"
        f" Schema.\n\n```yaml\n{file.schema()}\n```\n"
    )


def _python(name: str) -> str:
    """A module, and what it gives to others of other modules', where that is defined."""
    module = import_module(name)
    lines = [f"::: {name}"]
    if name in _LAZY:
        lines += ["    options: {members: false}", ""]
        for each in module.__all__:
            value = getattr(module, each)
            if isinstance(value, type) or inspect.isfunction(value):
                place = f"{value.__module__}.{value.__qualname__}"
                lines += [f"::: {place}", "    options: {heading_level: 3}", ""]
    return "\n".join(lines)


def _commands() -> str:
    import typer
    from typer.cli import get_docs_for_click

    from tuners.cli import app

    command = typer.main.get_command(app)
    context = command.make_context("prune-search", [], resilient_parsing=True)
    return get_docs_for_click(obj=command, ctx=context, name="prune-search", title="Commands")
