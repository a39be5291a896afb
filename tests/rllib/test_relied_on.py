"""What we use of RLlib's insides is listed, and there."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from prune_search.rllib.relied_on import INSIDES, Inside

PACKAGE = Path(__file__).parents[2] / "prune_search"
OTHERS = {
    "_current_frames",
    "_exit",
    "_flatten_layers",
    "_foreach_add_",
    "_foreach_addcdiv_",
    "_foreach_addcmul_",
    "_foreach_div_",
    "_foreach_lerp_",
    "_foreach_mul_",
    "_foreach_norm",
    "_foreach_sqrt",
    "_replace",
}  # of Python, torch and Keras
OPTIMIZERS = {  # torch's, of which we take ours away, and which a step runs
    "_optimizer_step_post_hooks",
    "_optimizer_step_pre_hooks",
    "_global_optimizer_post_hooks",
    "_global_optimizer_pre_hooks",
}


def private(text: object) -> bool:
    return isinstance(text, str) and bool(re.fullmatch(r"_[a-z]\w+", text))


def used(tree: ast.AST) -> Iterator[str]:
    """Private names that are asked of something else than self, or by getattr and its kin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            yield node.attr
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            yield from (part.value for part in node.args if isinstance(part, ast.Constant))


def defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node, ast.Attribute) and stored and ast.unparse(node.value) == "self":
            yield node.attr
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


@pytest.mark.parametrize("inside", INSIDES, ids=lambda inside: f"{inside.of}.{inside.name}")
def test_it_is_there(inside: Inside) -> None:
    module, _, name = inside.of.partition(":")
    whole = module if module.startswith("ray.") else f"ray.rllib.{module}"
    owner = getattr(importlib.import_module(whole), name)
    sources = (inspect.getsource(each) for each in owner.__mro__ if each is not object)
    spelled = re.compile(rf"(self\.|def |^ +){inside.name}\b", re.MULTILINE)
    assert any(spelled.search(source) for source in sources), (
        f"{whole}:{name} has no {inside.name} in this Ray; it is used for: {inside.why}"
    )


def test_all_that_is_used_is_listed() -> None:
    trees = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
    ours = {name for tree in trees.values() for name in defined(tree)}
    known = {inside.name for inside in INSIDES} | OTHERS | OPTIMIZERS
    found = {
        path.relative_to(PACKAGE).as_posix(): sorted(missing)
        for path, tree in trees.items()
        if (missing := {name for name in used(tree) if private(name)} - ours - known)
    }
    assert found == {}


def test_rllibs_insides_are_reached_from_one_room() -> None:
    known = {inside.name for inside in INSIDES}
    for path in PACKAGE.rglob("*.py"):
        if path.parts[len(PACKAGE.parts)] != "rllib":
            tree = ast.parse(path.read_text())
            own = set(defined(tree))
            assert not (set(used(tree)) & known) - own, path
