"""The order of the house: no circles, no arrow up, no private names, and a page that draws it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import house as order
from tests.house import House


@pytest.fixture(scope="module")
def house() -> House:
    return House()


def test_no_circle_of_files(house: House) -> None:
    assert order.circle(house.files()) == []


def test_no_circle_of_files_and_folders_in_any_room(house: House) -> None:
    found = {room: order.circle(house.inside(room)) for room in ["", *sorted(house.rooms)]}
    assert {room: circle for room, circle in found.items() if circle} == {}


def test_one_trial_knows_nothing_of_studies(house: House) -> None:
    up = [
        str(found)
        for found in house.imports
        if _in(found.importer, "prune_search") and _in(found.module, "tuners")
    ]
    assert up == []


@pytest.mark.parametrize("name", ["sparsity", "compression", "policy", "packed", "artifacts"])
def test_what_is_torchs_alone_comes_without_ray(house: House, name: str) -> None:
    room = [module for module in house.trees if _in(module, f"prune_search.{name}")]
    reached = house.reached(room)
    above = set(_above(room))
    ray = [
        str(found)
        for found in house.imports
        if _in(found.module, "ray")
        and (found.importer in reached or (found.importer in above and found.at_once))
    ]
    assert ray == []


def test_private_names_stay_in_their_files(house: House) -> None:
    """A private file is its room's; a private name is its file's."""
    taken = [
        str(found)
        for found in house.imports
        if found.module in house.trees
        and ((found.name or "").startswith("_") or _is_foreign_file(found.importer, found.module))
    ]
    taken += [
        f"{module}, line {node.lineno}: {ast.unparse(node)}"
        for module, tree in house.trees.items()
        for node in _private_attributes(house, module, tree)
    ]
    assert taken == []


def test_each_room_says_its_purpose(house: House) -> None:
    silent = [room for room in sorted(house.rooms) if not house.purpose(room).endswith(".")]
    assert silent == []


def test_each_folder_with_code_is_a_room(house: House) -> None:
    folders = {module.rpartition(".")[0] for module in house.trees} - {""}
    assert folders <= house.rooms


def test_no_room_is_a_heap(house: House) -> None:
    """What has more files than one looks through has rooms within it."""
    files = Counter(module.rpartition(".")[0] for module in house.trees.keys() - house.rooms)
    assert {room: count for room, count in files.items() if count > 16} == {}


def test_drawing_is_as_the_house_is_now(house: House) -> None:
    text = order.PAGE.read_text(encoding="utf-8")
    assert text == order.page(text, house), "run: python -m tests.house --write"
    assert len(house.drawn()) <= 25


MADE_UP = {
    "lower/__init__.py": '"""Below."""\n',
    "lower/one.py": "from lower.two import SHARED\n",
    "lower/two.py": "def late():\n    from .three import _hidden\n",
    "lower/three.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lower import one\n"
    ),
    "lower/deep/__init__.py": '"""Deep down."""\nimport ray.tune\n',
    "lower/deep/four.py": "import lower.five as other\nother._secret()\n",
    "lower/five.py": "from upper import door\n",
    "upper/__init__.py": "",
    "upper/door.py": "from lower.deep import four\n",
}


@pytest.fixture
def made_up(tmp_path: Path) -> House:
    """A house in which all is wrong that can be."""
    for name, text in MADE_UP.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return House(tmp_path, ["lower", "upper"])


def test_circles_are_found_wherever_the_imports_stand(made_up: House) -> None:
    found = order.circle(made_up.files())
    assert found[0] == found[-1]
    assert set(found) in ({"lower.one", "lower.two", "lower.three"}, _LONG)
    assert set(order.circle(made_up.inside(""))) == {"lower", "upper"}
    assert order.circle({"a": {"b"}, "b": set()}) == []


_LONG = {"lower.deep.four", "lower.five", "upper.door"}


def test_what_comes_along_is_found(made_up: House) -> None:
    assert made_up.reached(["lower.deep.four"]) == _LONG
    (ray,) = [found for found in made_up.imports if found.module == "ray.tune"]
    assert ray.importer == "lower.deep" and ray.at_once


def test_private_names_are_found(made_up: House) -> None:
    names = [found.name for found in made_up.imports if (found.name or "").startswith("_")]
    assert names == ["_hidden"]
    tree = made_up.trees["lower.deep.four"]
    found = _private_attributes(made_up, "lower.deep.four", tree)
    assert [ast.unparse(node) for node in found] == ["other._secret"]


def test_arrows_that_follow_from_others_are_left_out() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert order.reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}


def _in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _above(modules: list[str]) -> Iterator[str]:
    for module in modules:
        parts = module.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts)))


def _is_foreign_file(importer: str, module: str) -> bool:
    """Whether a file is private to a room that the importer does not lie in."""
    room, _, name = module.rpartition(".")
    return name.startswith("_") and not _in(importer, room)


def _private_attributes(house: House, module: str, tree: ast.Module) -> Iterator[ast.Attribute]:
    """What a file takes from files that it has imported whole, although it is private."""
    whole = {
        found.known_as
        for found in house.imports
        if found.importer == module and found.name is None and found.module in house.trees
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and ast.unparse(node.value) in whole
        ):
            yield node
