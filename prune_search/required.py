"""Classes whose pickles say which package they need.

RLlib takes a class of a checkpoint that can't be imported for one of another version, and goes on
with an empty network, whose use is an AttributeError. A pickle of these classes asks for their
package first, by functions that are there without it.
"""

from __future__ import annotations

import copyreg
from abc import ABCMeta
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter, getitem, methodcaller
from typing import Any


class Required(ABCMeta):
    """Metaclass of networks that open only where the package that defines them is installed.

    Reading a pickle that names one of them elsewhere is an AssertionError, which RLlib lets pass,
    and which names the package.
    """


class _Call:
    """In a pickle: what a function returns when the pickle is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._reduced


def _reduce(cls: type) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    package = cls.__module__.partition(".")[0]
    installed = package.replace("_", "-") if package == __name__.partition(".")[0] else package
    message = (
        f"the network {cls.__module__}.{cls.__qualname__} opens only where the package"
        f" {installed!r} is installed"
    )
    # By the name that numpy documents: the function's own module is a private one.
    asserted = methodcaller("assert_", _Call(find_spec, package), message)
    check = _Call(asserted, _Call(import_module, "numpy.testing"))
    found = _Call(attrgetter(cls.__qualname__), _Call(import_module, cls.__module__))
    return getitem, ((check, found), 1)


copyreg.pickle(Required, _reduce)
