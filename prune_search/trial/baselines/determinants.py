"""All that determines a baseline and its measured return, so that changes of it are seen.

Of the environment, its wrappers and a network of the user's it is the code: the files of their
modules and of what those import, as long as they are the user's own; of what was installed, the
version.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
from ray.tune.registry import ENV_CREATOR, _global_registry

from prune_search.errors import shortened
from prune_search.experiment.schema import Experiment
from prune_search.rllib.configuration.environments import environment_id

_VERSIONS, _FILES = "version of ", "code of "
_OF_NO_BASELINE = {"final_episodes", "final_seed", "holds_at"}  # fields of evaluation
_ALWAYS = ("prune-search", "ray", "torch", "gymnasium", "numpy")
_OWN = "prune_search"
_INSTALLED = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")
)


def determinants(experiment: Experiment) -> dict[str, str]:
    """What determines the baseline, by what a user knows it as.

    Fields of the experiment by their dotted names, as JSON; the user's code, by module, this
    package's and a checkpoint, as a hash; the versions of packages.

    Raises:
        UserError: there is no such environment.
    """
    fields = {
        "environment": experiment.environment.model_dump(),
        "algorithm": experiment.algorithm.model_dump(),
        "baseline": experiment.baseline.model_dump(exclude={"control"}),
        "evaluation": experiment.evaluation.model_dump(exclude=_OF_NO_BASELINE),
        "resources": experiment.resources.model_dump(
            include={"env_runners", "envs_per_env_runner", "learners"}
        ),
    }
    found = dict(_leaves(fields))
    if checkpoint := experiment.baseline.checkpoint:
        folder = Path(checkpoint).expanduser()
        files = (item for item in folder.rglob("*") if item.is_file())
        found[f"{_FILES}baseline.checkpoint"] = _digest(files, folder)
    packages = set(_ALWAYS)
    for module in _modules(experiment):
        own, installed = _sources(module)
        if own:
            found[f"{_FILES}module {module}"] = _digest(own)
        packages |= installed
    for package in packages:
        found[f"{_VERSIONS}{package}"] = _version(package)
    found[f"{_FILES}{_OWN}"] = _own()
    return found


def key(found: Mapping[str, str]) -> str:
    """Hash of what `determinants` gave, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What has changed, in words.

    Returns:
        Changes of the task or its settings; and of the software that all of it runs on.
    """
    settings: list[str] = []
    software: list[str] = []
    for name in sorted(then.keys() | now.keys()):
        was, now_is = then.get(name, "absent"), now.get(name, "absent")
        if was == now_is:
            continue
        changed = f"{name} was {shortened(was)}, is {shortened(now_is)}"
        if name.startswith(_FILES):
            changed = f"{name} has changed"
        ours = name == f"{_FILES}{_OWN}" or name.startswith(_VERSIONS)
        (software if ours else settings).append(changed)
    return settings, software


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, json.dumps(value, sort_keys=True, default=str)


def _modules(experiment: Experiment) -> list[str]:
    """The modules that the code of the environment and of the user's network begins in."""
    environment = experiment.environment
    name = environment_id(environment)
    if _global_registry.contains(ENV_CREATOR, name):
        made = [_global_registry.get(ENV_CREATOR, name)]
    else:
        spec = gym.spec(name.rpartition(":")[2])  # whose module has been imported
        made = [spec.entry_point, *(each.entry_point for each in spec.additional_wrappers)]
    found = [module.partition(":")[0] for module in environment.modules]
    dotted = [wrapper.name for wrapper in environment.wrappers]
    if experiment.algorithm.module:
        dotted.append(experiment.algorithm.module)
    found += [each.rpartition(".")[0] for each in dotted]
    for creator in made:
        by_name = isinstance(creator, str)
        found.append(creator.split(":")[0] if by_name else getattr(creator, "__module__", ""))
    return sorted({module for module in found if module})


def _sources(module: str) -> tuple[set[Path], set[str]]:
    """The user's own files that a module and what it imports are in, and installed packages.

    Imports are followed through files of the user's own, and, of an installed module, through its
    folder. Imports within functions, and what is loaded by name, are not seen.
    """
    own: set[Path] = set()
    packages: set[str] = set()
    seen: set[str] = set()
    waiting, start, top = [module], _file(module), module.split(".", maxsplit=1)[0]
    while waiting:
        name = waiting.pop()
        first = name.split(".")[0]
        if name in seen or first in sys.stdlib_module_names:
            continue
        seen.add(name)
        root = _file(first)
        if root is not None and _is_installed(root):
            packages |= set(_distributions().get(first, ()))
            if first != top:
                continue
        path = _file(name)
        if path is None:
            continue
        if not _is_installed(path):
            own.add(path)
        elif start is None or path.parent != start.parent:
            continue
        waiting += _imports(path, name)
    return own, packages


def _file(module: str) -> Path | None:
    """The Python file that a module is, or None: it is built in, compiled, or there is none."""
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError, AttributeError):
            return None
        origin = spec.origin if spec else None
    if not origin or origin in ("built-in", "frozen") or not Path(origin).is_file():
        return None
    return Path(origin).resolve()


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _INSTALLED)


def _imports(path: Path, module: str) -> list[str]:
    """Names of the modules that a file imports when it is imported; of this package none."""
    if path.suffix != ".py":
        return []
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: list[str] = []
    waiting: list[ast.AST] = [ast.parse(path.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{above}.{base}".strip(".")
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return [name for name in found if name.split(".")[0] != _OWN]


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return "none"


@cache
def _own() -> str:
    """This package's code for training and measuring: versions don't tell while it is changed."""
    package = Path(__file__).parents[2]
    rooms = (file for room in ("rllib", "trial") for file in (package / room).rglob("*.py"))
    return _digest([*rooms, package / "records" / "intervals.py"], package)


def _digest(files: Iterable[Path], folder: Path | None = None) -> str:
    """Hash of files' contents and names; of their paths in a folder where one is given."""
    digest = hashlib.sha256()
    for file in sorted(files):
        name = file.relative_to(folder).as_posix() if folder else file.name
        digest.update(f"{name}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
