"""A policy's description as lists, texts and numbers, with its arrays apart, and back again.

A dataclass is a list of its name and its fields. What is read is checked against the fields' types:
it may come from anywhere.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np

from prune_search.policy import actions, description, layers
from prune_search.policy.arrays import Array
from prune_search.policy.description import PolicyDescription
from prune_search.policy.layers import Layer

Put: TypeAlias = "Callable[[Array], Any]"
Take: TypeAlias = "Callable[[Any], Array]"

_CLASSES: dict[str, Any] = {
    name: found
    for module in (layers, actions, description)
    for name, found in vars(module).items()
    if isinstance(found, type) and is_dataclass(found) and found is not Layer
}


def to_plain(value: Any, put: Put) -> Any:
    """Lists, texts and numbers for a description, or a part of it.

    Args:
        value: the description.
        put: called with each array, in the order of the fields; what it returns stands for it.
    """
    if isinstance(value, np.ndarray):
        return put(value)
    if is_dataclass(value):
        parts = [to_plain(getattr(value, each.name), put) for each in fields(value)]
        return [type(value).__name__, *parts]
    if isinstance(value, tuple):
        return [to_plain(each, put) for each in value]
    return value


def from_plain(plain: Any, take: Take) -> PolicyDescription:
    """The description that `to_plain` was given.

    Args:
        plain: what it returned.
        take: called with what stands for each array, in the same order.

    Raises:
        ValueError: it is not of that form.
    """
    found: PolicyDescription = _read(PolicyDescription, plain, take)
    return found


def _read(hint: Any, plain: Any, take: Take) -> Any:
    origin, options = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(options, plain, take)
    if origin is tuple and isinstance(plain, list):
        kinds = [options[0]] * len(plain) if options[1:] == (...,) else list(options)
        return tuple(_read(kind, each, take) for kind, each in zip(kinds, plain, strict=True))
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(plain, list) and plain:
        return _made(hint, plain, take)
    return take(plain) if hint == Array else _checked(hint, plain)


def _checked(hint: Any, plain: Any) -> Any:
    """A number, a text or a truth value, if it is one that the type allows."""
    if hint is float and type(plain) in (int, float):
        return float(plain)
    if plain in get_args(hint) if get_origin(hint) is Literal else type(plain) is hint:
        return plain
    raise ValueError(f"{plain!r:.40} where {hint} belongs")


def _made(hint: type, plain: list[Any], take: Take) -> Any:
    kind = _CLASSES.get(plain[0]) if isinstance(plain[0], str) else None
    if kind is None or not issubclass(kind, hint):
        raise ValueError(f"{plain[0]!r:.40} where a {hint.__name__} belongs")
    hints = get_type_hints(kind)
    parts = zip(kind.__dataclass_fields__, plain[1:], strict=True)
    return kind(**{name: _read(hints[name], part, take) for name, part in parts})


def _one_of(options: tuple[Any, ...], plain: Any, take: Take) -> Any:
    """Which of several types is meant is told by the name of a dataclass, or by None."""
    if plain is None and type(None) in options:
        return None
    named = plain[0] if isinstance(plain, list) and plain else None
    for option in options:
        if isinstance(option, type) and option.__name__ == named:
            return _read(option, plain, take)
    others = [one for one in options if one is not type(None) and not is_dataclass(one)]
    if len(others) != 1:
        raise ValueError(f"{plain!r:.40} is none of {options}")
    return _read(others[0], plain, take)
