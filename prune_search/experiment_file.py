"""Reading and writing experiment files: YAML in, one clear line out when something is wrong."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from prune_search.errors import UserError, one_line, shortened, shown, unknown
from prune_search.experiment import Experiment
from prune_search.searchable import Choice, Searchable

_NAMES_FIELD = re.compile(r"[a-z_]+(\.[a-z_]+)+: ")
_FORMS = {"value", "choices", "range"}  # tags of a searchable field's forms; not keys of the file
_MOST_BYTES, _DEEPEST = 100_000, 50  # of a file, and of what is nested in it
_MOST_PROBLEMS = 5  # told of one file


def presets() -> dict[str, str]:
    """The shipped experiment files: name to YAML text."""
    folder = resources.files("prune_search") / "presets"
    return {
        Path(item.name).stem: item.read_text(encoding="utf-8")
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".yaml")
    }


def load(source: str, overrides: Sequence[str] = (), trust: bool = False) -> Experiment:
    """The experiment of a preset's name or a file's path, with `key.path=value` overrides.

    Args:
        source: the preset's name or the file's path.
        overrides: fields to change.
        trust: the user trusts the pickles that the experiment names; see `trust`.

    Raises:
        UserError: no such preset or file, no valid YAML, or a field that is not as it must be.
    """
    shipped = presets()
    if source in shipped:
        text = shipped[source]
    elif os.path.isfile(source):  # noqa: PTH113 - Path.is_file raises where a folder is closed
        text = read(Path(source))
    elif Path(source).suffix in {".yaml", ".yml"} or "/" in source:
        raise UserError(f"experiment: no file {source!r}")
    else:
        raise unknown("experiment", source, [*shipped, "the path of a YAML file"])
    experiment = parse(text, overrides, where=source)
    return experiment.trusting() if trust else experiment


def read(path: Path) -> str:
    """The text of an experiment file.

    Raises:
        UserError: it can't be read, is too large, or is no text.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        text = content[:_MOST_BYTES].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"experiment: cannot read {str(path)!r}: {reason or error}") from None
    if len(content) > _MOST_BYTES:
        raise UserError(f"experiment: {str(path)!r} is larger than {_MOST_BYTES:,} bytes")
    return text


def parse(text: str, overrides: Sequence[str] = (), where: str = "experiment") -> Experiment:
    """The experiment that a YAML text describes; see `load`."""
    data = _yaml(text, where)
    if not isinstance(data, dict):
        raise UserError(f"{where}: must be a mapping of sections, got {type(data).__name__}")
    for override in overrides:
        _override(data, override)
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise UserError(describe(error)) from None


def dump(experiment: Experiment) -> str:
    """The experiment as YAML, every field written out."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(experiment.model_dump(), stream)
    return stream.getvalue()


def describe(error: ValidationError) -> str:
    """What is wrong, in one line: field, what was given, what is allowed."""
    lines = list(dict.fromkeys(_line(item) for item in error.errors(include_url=False)))
    more = [f"and {len(lines) - _MOST_PROBLEMS} more"] if len(lines) > _MOST_PROBLEMS else []
    return "; ".join([*lines[:_MOST_PROBLEMS], *more])


def _line(item: ErrorDetails) -> str:
    kind, given = item["type"], item["input"]
    field = ".".join(shortened(str(part)) for part in item["loc"] if part not in _FORMS)
    if kind == "extra_forbidden":
        parent = _section(item["loc"][:-1])
        known = f"; known are: {', '.join(sorted(parent.model_fields))}" if parent else ""
        return f"{field}: unknown key{known}"
    if kind == "missing":
        return f"{field}: required, and missing"
    if kind == "union_tag_invalid":
        return f"{field}: must be a value or a list of choices, got {shown(given)}"
    message = item["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        # A message of ours names its fields itself where it concerns several.
        return message if _NAMES_FIELD.match(message) or not field else f"{field}: {message}"
    return f"{field}: {message[0].lower()}{message[1:]}, got {shown(given)}"


def _section(path: Iterable[int | str]) -> type[BaseModel] | None:
    model: Any = Experiment
    for part in path:
        if part in _FORMS or isinstance(part, int):  # an item of a list
            continue
        info = getattr(model, "model_fields", {}).get(part)
        model = _model(info.annotation) if info is not None else None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _model(annotation: Any) -> Any:
    """The section that a field holds, also one that may be null; else the annotation."""
    models = [item for item in get_args(annotation) if isinstance(item, type)]
    sections = [item for item in models if issubclass(item, BaseModel)]
    return sections[0] if sections else annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _yaml(text: str, where: str) -> Any:
    if len(text) > _MOST_BYTES:
        raise UserError(f"{where}: longer than {_MOST_BYTES:,} characters")
    try:
        _refuse_tricks(text)
        # YAML 1.2, so that 1e-3 is a number; the safe loader makes nothing but plain data.
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {one_line(error)}") from None
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        raise UserError(f"{where}: not valid YAML: {one_line(error)}") from None


def _refuse_tricks(text: str) -> None:
    """Refuses what could make a short text much work, or anything but plain data."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST} levels")
        if isinstance(event, AliasEvent):
            raise ValueError(f"alias *{event.anchor}: write the value out")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"tag {event.tag}: values are plain data without tags")


def _override(data: dict[Any, Any], override: str) -> None:
    path, sign, text = override.partition("=")
    keys = path.strip().split(".")
    if not sign or not all(keys):
        raise UserError(f"--set: must be key.path=value, got {shown(override)}")
    section = data
    for key in keys[:-1]:
        if section.get(key) is None:
            section[key] = {}
        section = section[key]
        if not isinstance(section, dict):
            raise UserError(f"--set {path}: {shown(key)} is not a section")
    section[keys[-1]] = _yaml(text, f"--set {path}")


def schema() -> str:
    """The experiment file with every field, its default and its help, as YAML with comments."""
    lines = ["# Every field of an experiment file, with its default.", ""]
    for name, info in Experiment.model_fields.items():
        model = info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            lines += [f"# {model.__doc__}" if model.__doc__ else "#", f"{name}:"]
            for key, field in model.model_fields.items():
                lines += _documented(key, field, "  ")
        else:
            lines += _documented(name, info, "")
        lines.append("")
    return "\n".join(lines)


def _documented(name: str, field: Any, indent: str) -> list[str]:
    help_text = " ".join((field.description or "").split())
    default = "<required>" if field.is_required() else _inline(field.default)
    note = ""
    alias = getattr(field.annotation, "__origin__", None)
    if alias is Choice or alias is Searchable:
        note = "; a list is searched" if alias is Choice else "; a list or a range is searched"
    kind = _type_name(field.annotation) + note
    lines = [f"{indent}# {help_text} ({kind})"]
    model = _model(field.annotation)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return [*lines, f"{indent}{name}: {default}"]
    inner = [
        line
        for key, item in model.model_fields.items()
        for line in _documented(key, item, f"{indent}  ")
    ]
    if not isinstance(field.default, BaseModel):  # what it may hold, or its items, as a comment
        shown_inner = (f"{indent}  # {line.strip()}" for line in inner)
        return [*lines, f"{indent}{name}: {default}", *shown_inner]
    return [*lines, f"{indent}{name}:", *inner]


def _type_name(annotation: Any) -> str:
    """A type in words: `float`, `str or null`, or the values that are allowed."""
    origin, arguments = getattr(annotation, "__origin__", None), get_args(annotation)
    if hasattr(annotation, "__metadata__") or origin is Choice or origin is Searchable:
        return _type_name(arguments[0])
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is list and _is_section(arguments[0]):
        return "list of mappings"
    if origin in (list, dict) and arguments:
        return f"{origin.__name__}[{', '.join(_type_name(item) for item in arguments)}]"
    if origin in (list, dict) or not arguments:
        is_class = isinstance(annotation, type) and not arguments
        name = annotation.__name__ if is_class else str(annotation).replace("typing.", "")
        return "null" if annotation is type(None) else name
    return " or ".join(_type_name(item) for item in arguments)


def _inline(value: Any) -> str:
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 10_000
    plain = value.model_dump() if isinstance(value, BaseModel) else value
    yaml.dump({"": plain}, stream)
    return stream.getvalue().strip().removeprefix("{'': ").removesuffix("}")
