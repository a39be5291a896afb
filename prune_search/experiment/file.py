"""Reading and writing experiment files: YAML in, one clear line out when something is wrong."""

from __future__ import annotations

import io
import os
import re
import textwrap
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from prune_search.errors import UserError, near_file, one_line, shortened, shown, unknown
from prune_search.experiment.extensions import import_extensions
from prune_search.experiment.fields import Choice, Searchable
from prune_search.experiment.problems import FORMS, said, section_of, unknown_key
from prune_search.experiment.schema import Experiment
from prune_search.plan.names import STORED, Named

_NAMES_FIELD = re.compile(r"[a-z_]+(\.[a-z_]+)+: ")
_MOST_BYTES, _DEEPEST = 100_000, 50  # of a file, and of what is nested in it
_MOST_PROBLEMS = 5  # told of one file
_COLUMNS = 80  # of the schema's comments


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
        overrides: fields to change, `["search.trials=20"]`.
        trust: the user trusts the pickles that the experiment names; see `trust`.

    Raises:
        UserError: no such preset or file, no valid YAML, or a field that is not as it must be.
    """
    _check_overrides(overrides)
    shipped = presets()
    if source in shipped:
        text = shipped[source]
    elif os.path.isfile(source):  # noqa: PTH113 - Path.is_file raises where a folder is closed
        text = read(Path(source))
    elif Path(source).suffix in {".yaml", ".yml"} or "/" in source:
        raise UserError(f"experiment: no file {source!r}{near_file(Path(source))}")
    else:
        raise unknown("experiment", source, [*shipped, "the path of a YAML file"])
    experiment = _from_any_folder(parse(text, overrides, where=source))
    return experiment.trusting() if trust else experiment


def _from_any_folder(experiment: Experiment) -> Experiment:
    """With whole paths of the checkpoints that are there: trials run in folders of their own."""
    baseline, pruning = experiment.baseline, experiment.pruning
    return experiment.model_copy(
        update={
            "baseline": baseline.model_copy(update={"checkpoint": _whole(baseline.checkpoint)}),
            "pruning": pruning.model_copy(update={"teacher": _whole(pruning.teacher)}),
        }
    )


def _whole(path: str | None) -> str | None:
    there = path and os.path.exists(Path(path).expanduser())  # noqa: PTH110 - Path's raises where one is closed
    return str(Path(path).expanduser().absolute()) if path and there else path


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


def parse(
    text: str,
    overrides: Sequence[str] = (),
    where: str = "experiment",
    *,
    stored: bool = False,
) -> Experiment:
    """The experiment that a YAML text describes; see `load`.

    Of one that a study has stored, and was begun with, no module is imported.
    """
    _check_overrides(overrides)
    data = _yaml(text, where)
    if not isinstance(data, dict):
        got = {list: "a list", type(None): "nothing"}.get(type(data), shown(data))
        raise UserError(f"{where}: must be a mapping of sections, got {got}")
    for override in overrides:
        _override(data, override)
    modules = data.get("modules")
    if isinstance(modules, list) and not stored:
        import_extensions(modules)
    try:
        return Experiment.model_validate(data, context=STORED if stored else None)
    except ValidationError as error:
        raise UserError(describe(error)) from None


def ready(experiment: Experiment) -> None:
    """Makes a stored experiment one that can be run: its modules imported, its names known.

    Raises:
        UserError: a module can't be imported, or registers a name no longer.
    """
    import_extensions(experiment.modules)
    try:
        Experiment.model_validate(experiment.model_dump())
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
    path, message = item["loc"], item["msg"].removeprefix("Value error, ")
    field = ".".join(shortened(str(part)) for part in path if part not in FORMS)
    if item["type"] == "extra_forbidden":
        return unknown_key(field, str(path[-1]), _section(path[:-1]), Experiment)
    if item["type"] == "value_error":
        # A message of ours names its fields itself where it concerns several.
        return message if _NAMES_FIELD.match(message) or not field else f"{field}: {message}"
    if item["type"] == "string_unicode" and not field:  # a key that no encoding can write
        return f"experiment: must have texts as its keys, got {shown(item['input'])}"
    return f"{field}: {said(item)}"


def _section(path: Iterable[int | str]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Experiment
    for part in path:
        if part in FORMS or isinstance(part, int):  # an item of a list
            continue
        info = model.model_fields.get(part) if model is not None else None
        model = section_of(info.annotation) if info is not None else None
    return model


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


def _check_overrides(overrides: object) -> None:
    if isinstance(overrides, str):
        raise UserError(f"overrides: must be a list of texts, got one; write [{shown(overrides)}]")
    if not isinstance(overrides, Sequence):
        kind = type(overrides).__name__
        raise UserError(f"overrides: must be a list of key.path=value, got a {kind}")
    for each in overrides:
        if not isinstance(each, str):
            raise UserError(f"overrides: must be texts, key.path=value, got {shown(each)}")


def check_override(override: str) -> tuple[str, list[str], str]:
    """What is changed, its keys, and the text of the value.

    Raises:
        UserError: it is not `key.path=value`.
    """
    path, sign, text = override.partition("=")
    keys = path.strip().split(".")
    if not sign or not all(keys):
        key, _, value = path.strip().partition(" ")
        meant = f"; write --set {key}={value or 'VALUE'}" if key and not sign else ""
        raise UserError(f"--set: must be key.path=value, got {shown(override)}{meant}")
    return path, keys, text


def _override(data: dict[Any, Any], override: str) -> None:
    path, keys, text = check_override(override)
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
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            lines += [*_comment(section.__doc__ or "", ""), f"{name}:"]
            for key, field in section.model_fields.items():
                lines += _documented(key, field, "  ")
        else:
            lines += _documented(name, info, "")
        lines.append("")
    return "\n".join(lines)


def _documented(name: str, field: Any, indent: str) -> list[str]:
    default = "<required>" if field.is_required() else inline(field.default)
    note = ""
    alias = getattr(field.annotation, "__origin__", None)
    if alias is Choice or alias is Searchable:
        note = "; a list is searched" if alias is Choice else "; a list or a range is searched"
    kind = _type_name(field.annotation) + note
    lines = _comment(f"{field.description or ''} ({kind})", indent)
    section = section_of(field.annotation)
    if section is None:
        return [*lines, f"{indent}{name}: {default}"]
    inner = [
        line
        for key, item in section.model_fields.items()
        for line in _documented(key, item, f"{indent}  ")
    ]
    if not isinstance(field.default, BaseModel):  # what it may hold, or its items, as a comment
        shown_inner = (f"{indent}  # {line.strip()}" for line in inner)
        return [*lines, f"{indent}{name}: {default}", *shown_inner]
    return [*lines, f"{indent}{name}:", *inner]


def _comment(text: str, indent: str) -> list[str]:
    """A text in lines that a terminal holds."""
    begin = f"{indent}# "
    return textwrap.wrap(
        " ".join(text.split()),
        _COLUMNS,
        initial_indent=begin,
        subsequent_indent=begin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _type_name(annotation: Any, many: bool = False) -> str:
    """A type in words: `float`, `list of str`, `mapping or null`, or the values allowed."""
    origin, arguments = getattr(annotation, "__origin__", None), get_args(annotation)
    marks = [item for item in getattr(annotation, "__metadata__", ()) if isinstance(item, Named)]
    if marks or origin is Literal:
        allowed = ", ".join(map(str, marks[0].entries() if marks else arguments))
        return f"any of {allowed}" if many else allowed
    if hasattr(annotation, "__metadata__") or origin is Choice or origin is Searchable:
        return _type_name(arguments[0], many)
    if origin is list:
        return f"list{'s' * many} of {_type_name(arguments[0], many=True)}"
    if origin is dict or annotation is dict or section_of(annotation) is annotation:
        named = bool(arguments) and arguments[1] is not Any
        of = " of {} to {}".format(*map(_type_name, arguments)) if named else ""
        return f"mapping{'s' * many}{of}"
    if not arguments:
        return "null" if annotation is type(None) else str(annotation.__name__)
    return " or ".join(_type_name(item, many) for item in arguments)


def inline(value: Any) -> str:
    """A value as one line of YAML."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 10_000
    plain = value.model_dump() if isinstance(value, BaseModel) else value
    yaml.dump({"": plain}, stream)
    return stream.getvalue().strip().removeprefix("{'': ").removesuffix("}")
