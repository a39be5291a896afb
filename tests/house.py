"""The order of the house: which file imports which, and what docs/architecture.md draws of it.

    python -m tests.house [--write]

prints the drawing and the list of rooms, or writes them into that page. Nothing is imported: the
files are read as syntax trees.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("prune_search", "tuners")
BEGIN, END = "<!-- house: begin -->", "<!-- house: end -->"

Graph: TypeAlias = dict[str, set[str]]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Import:
    """One name that one file imports, from a file of the house or from elsewhere."""

    importer: str
    module: str
    name: str | None
    """None where the module itself is imported."""
    known_as: str
    """What the importer calls it."""
    line: int
    at_once: bool
    """Whether it happens when the importer is imported, not later in a function or never."""

    def __str__(self) -> str:
        what = self.module if self.name is None else f"{self.module}.{self.name}"
        return f"{self.importer}, line {self.line}: {what}"


class House:
    """The files of the packages below a folder, by module name, and their imports."""

    def __init__(self, root: Path = ROOT, packages: Iterable[str] = PACKAGES) -> None:
        self.packages = tuple(packages)
        self.trees: dict[str, ast.Module] = {}
        self.rooms: set[str] = set()
        for package in self.packages:
            for path in sorted((root / package).rglob("*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                if parts[-1] == "__init__":
                    parts = parts[:-1]
                    self.rooms.add(".".join(parts))
                self.trees[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
        self.imports = [found for module in self.trees for found in self._of(module)]

    def files(self) -> Graph:
        """The files that each file imports, wherever in it the import stands."""
        graph: Graph = {module: set() for module in self.trees}
        for found in self.imports:
            if found.module in self.trees and found.module != found.importer:
                graph[found.importer].add(found.module)
        return graph

    def inside(self, room: str) -> Graph:
        """The files and folders that lie directly in a room; "" has the packages.

        A folder stands for all that lies in it.
        """
        graph: Graph = {}
        for importer, imported in self.files().items():
            child = _child(room, importer)
            if child is not None:
                others = {_child(room, module) for module in imported} - {None, child}
                graph.setdefault(child, set()).update(other for other in others if other)
        return graph

    def reached(self, starts: Iterable[str]) -> set[str]:
        """The files that come along where some are imported, in functions too."""
        at_once: Graph = {module: set() for module in self.trees}
        for found in self.imports:
            if found.at_once and found.module in self.trees:
                at_once[found.importer].add(found.module)
        graph = self.files()
        reached: set[str] = set()
        waiting = list(starts)
        while waiting:
            module = waiting.pop()
            if module not in reached:
                reached.add(module)
                waiting += graph[module]
                # The folders' own files run as well, but not what their functions import later.
                waiting += [other for above in _above(module) for other in at_once[above]]
        return reached

    def purpose(self, room: str) -> str:
        """The first sentence of what a room says of itself."""
        return (ast.get_docstring(self.trees[room]) or "").partition("\n")[0]

    def drawn(self) -> list[str]:
        """The rooms that the drawing has: the folders directly in the packages."""
        return sorted(room for room in self.rooms if room.count(".") == 1)

    def arrows(self) -> Graph:
        """The rooms that each room imports, without those that follow from others.

        An import that goes through files beside the rooms counts as well.
        """
        files = self.files()
        room_of = {module: ".".join(module.split(".")[:2]) for module in self.trees}
        rooms = self.drawn()
        graph: Graph = {room: set() for room in rooms}
        for start in self.trees:
            if room_of[start] not in rooms:
                continue
            waiting, seen = sorted(files[start]), set()
            while waiting:
                module = waiting.pop()
                if room_of[module] in rooms:
                    graph[room_of[start]].add(room_of[module])
                elif module not in seen:
                    seen.add(module)
                    waiting += files[module]
        for room in rooms:
            graph[room].discard(room)
        return reduced(graph)

    def _of(self, module: str) -> Iterator[Import]:
        for node, at_once in _statements(self.trees[module], True):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    known_as = alias.asname or alias.name
                    yield Import(module, alias.name, None, known_as, node.lineno, at_once)
            else:
                base = self._base(module, node)
                for alias in node.names:
                    full, known_as = f"{base}.{alias.name}", alias.asname or alias.name
                    what: tuple[str, str | None]
                    what = (full, None) if full in self.trees else (base, alias.name)
                    yield Import(module, *what, known_as, node.lineno, at_once)

    def _base(self, module: str, node: ast.ImportFrom) -> str:
        """What stands behind `from`, written out where it begins with dots."""
        if not node.level:
            return node.module or ""
        parts = module.split(".")
        kept = len(parts) - node.level + (module in self.rooms)
        return ".".join([*parts[:kept], *([node.module] if node.module else [])])


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle of a graph, its first node also last; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def reduced(graph: Mapping[str, set[str]]) -> Graph:
    """The same graph, which has no circle, without arrows that follow from others."""
    below: Graph = {}
    for node in TopologicalSorter(graph).static_order():
        below[node] = set().union(*({other} | below[other] for other in graph.get(node, ())))
    return {
        node: {other for other in others if not any(other in below[third] for third in others)}
        for node, others in graph.items()
    }


def drawing(house: House) -> str:
    """The house in Markdown: a diagram of its rooms, and what each of them is for."""
    arrows = house.arrows()
    lines = ["```mermaid", "flowchart TD"]
    for package in reversed(house.packages):
        rooms = [room for room in house.drawn() if room.startswith(f"{package}.")]
        lines.append(f"  subgraph {package}")
        lines += [f"    {_node(room)}[{room.rpartition('.')[2]}]" for room in rooms]
        lines.append("  end")
    lines += [
        f"  {_node(room)} --> {_node(other)}" for room in arrows for other in sorted(arrows[room])
    ]
    lines += ["```", "", "| room | what it is for |", "|---|---|"]
    lines += [
        f"| `{room.replace('.', '/')}/` | {house.purpose(room)} |" for room in sorted(house.rooms)
    ]
    return "\n".join(lines)


def page(text: str, house: House) -> str:
    """A page with the drawing as it is now between its marks."""
    between = re.compile(f"(?<={re.escape(BEGIN)}\n).*(?={re.escape(END)})", re.DOTALL)
    filled, count = between.subn(lambda _: f"{drawing(house)}\n", text)
    if count != 1:
        raise ValueError(f"the page has no place between {BEGIN} and {END}")
    return filled


def _child(room: str, module: str) -> str | None:
    """The file or folder of a room in which a module lies."""
    prefix = f"{room}." if room else ""
    return module[len(prefix) :].partition(".")[0] if module.startswith(prefix) else None


def _node(room: str) -> str:
    return room.replace(".", "_")


def _above(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))


def _statements(node: ast.AST, at_once: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield node, at_once
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, _FUNCTIONS) or _for_types(node, child)
        yield from _statements(child, at_once and not later)


def _for_types(node: ast.AST, child: ast.AST) -> bool:
    """Whether something stands under `if TYPE_CHECKING`."""
    return (
        isinstance(node, ast.If)
        and "TYPE_CHECKING" in ast.unparse(node.test)
        and (child in node.body)
    )


def main() -> None:
    """Prints the drawing, or writes it into the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"Into docs/{PAGE.name}.")
    if parser.parse_args().write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), House()), encoding="utf-8")
    else:
        print(drawing(House()))


if __name__ == "__main__":
    main()
