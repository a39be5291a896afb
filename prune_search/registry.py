"""Names that experiment files and calls use, and what they stand for; open to one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from prune_search.errors import shown, unknown_name

T = TypeVar("T")
F = TypeVar("F")
D = TypeVar("D")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:.-]*")


class Registry(Mapping[str, T], Generic[T]):
    """Entries of one axis by name, in the order in which they came.

    What this package has registered stays. An entry of one's own may be given anew, as it is
    wherever a notebook's cell runs twice.
    """

    def __init__(self, axis: str) -> None:
        """
        Args:
            axis: what the entries are, for messages: `criterion`.
        """
        self.axis = axis
        self._entries: dict[str, T] = {}
        self._ours: frozenset[str] = frozenset()

    def add(self, name: str, entry: T) -> T:
        """Registers an entry, and returns it.

        Raises:
            ValueError: the name is one of this package's, or none that a file can hold.
        """
        if name in self._ours:
            raise ValueError(f"{self.axis} {name!r} is prune-search's own; choose another name")
        if not _NAME.fullmatch(name) or name == "none":
            raise ValueError(
                f"{self.axis}: a name is letters, digits, _, :, . and -, and not none, got"
                f" {shown(name)}"
            )
        self._entries[name] = entry
        return entry

    def registering(self, name: str, entry: Callable[[F], T]) -> Callable[[F], F]:
        """A decorator that registers what `entry` makes of what it decorates, and leaves that be.

        Raises:
            ValueError: as `add`, when it decorates.
        """

        def register(made: F) -> F:
            self.add(name, entry(made))
            return made

        return register

    def close(self) -> None:
        """What is registered so far is this package's own, and cannot be replaced."""
        self._ours = frozenset(self._entries)

    def find(self, name: str) -> T:
        """The entry of this name.

        Raises:
            ValueError: there is none; the message lists those there are, and the nearest first.
        """
        if name not in self._entries:
            raise ValueError(self.unknown(name))
        return self._entries[name]

    # Mapping's own catches an error for each name it lacks, and a search asks for `none` often.
    @overload
    def get(self, name: str, /) -> T | None: ...

    @overload
    def get(self, name: str, default: T | D, /) -> T | D: ...

    def get(self, name: str, default: Any = None, /) -> Any:
        return self._entries.get(name, default)

    def unknown(self, name: object) -> str:
        """What is said of a name that no entry has."""
        return unknown_name(f"{self.axis} ", name, self._entries)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
