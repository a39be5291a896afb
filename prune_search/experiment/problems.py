"""What pydantic finds wrong with a value, in the words of the experiment file."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from prune_search.errors import did_you_mean, shortened, shown, unknown_name

FORMS = frozenset({"value", "choices", "range"})
"""Tags of a searchable field's forms in the place of an error; no keys of the file."""
_MUST = {
    "union_tag_invalid": "must be a value or a list of choices",
    "invalid_key": "must have texts as its keys",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} items",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    # The beginnings of kinds: int_type, int_parsing, ...
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "bool": "must be true or false",
    "string": "must be a text",
    "list": "must be a list",
    "dict": "must be a mapping of keys to values",
    "model": "must be a mapping of keys to values",
}


def said(item: ErrorDetails) -> str:
    """What the value must be, and what it is: `must be at least 1, got 0`."""
    kind, given = item["type"], item["input"]
    if kind == "missing":
        return "required, and missing"
    if kind == "literal_error":
        return unknown_name("", given, _names(item["ctx"]["expected"]), written(given))
    limits = {
        name: _number(limit)
        for name, limit in item.get("ctx", {}).items()
        if isinstance(limit, int | float)
    }
    must = _MUST.get(kind) or _MUST.get(kind.partition("_")[0])
    must = must.format(**limits) if must else item["msg"]
    if kind == "list_type" and isinstance(given, str | int | float):
        must += f", such as [{shortened(str(given))}]"
    return f"{must}, got {written(given)}"


def written(value: object) -> str:
    """A value as it is written in the file: `null`, `true`, 'text'."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return shown(value)


def _number(limit: float) -> str:
    return f"{limit:g}" if isinstance(limit, float) else f"{limit:,}"


def _names(expected: str) -> list[str]:
    """Of pydantic's `'a', 'b' or 'c'`."""
    return [name.strip().strip("'") for name in expected.replace(" or ", ",").split(",")]


def unknown_key(
    path: str, name: str, section: type[BaseModel] | None, root: type[BaseModel]
) -> str:
    """The message for a key that a section does not have.

    Args:
        path: the key's, with its sections'.
        name: the key.
        section: the one that it is in; None where that is none of the file's.
        root: the whole file's model.
    """
    if section is None:
        return f"{path}: unknown key"
    known = sorted(section.model_fields)
    elsewhere = [where for where in paths(root) if where.rpartition(".")[2] == name]
    near = f", did you mean {elsewhere[0]}?" if elsewhere else did_you_mean(name, known)
    return f"{path}: unknown key{near or ';'} known are: {', '.join(known)}"


def paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """The names of all fields, with their sections': `search.trials`."""
    found = []
    for name, field in model.model_fields.items():
        inner = section_of(field.annotation)
        found += paths(inner, f"{prefix}{name}.") if inner else [prefix + name]
    return found


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, also one that may be null; None where it holds none."""
    for item in (annotation, *get_args(annotation)):
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None
