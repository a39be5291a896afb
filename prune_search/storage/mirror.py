"""A storage folder's copy in an object store, for nodes that do not see one folder.

A node works in its own storage folder, at the same path on all of them, and pushes what it has
finished; another pulls it when it needs it. A store shows a file once all of it is there. What a
record speaks of is pushed before the record, so whoever pulls a record can pull that too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prune_search.errors import UserError, one_line


class MirrorError(OSError):
    """The store does not answer, or refuses."""


class Mirror:
    """Copies files and folders below a storage folder to and from a store, under the same names.

    Args:
        storage: the storage folder on this node.
        uri: a folder in an object store, as pyarrow names it (s3://bucket/folder, gs://..., or
            file:///...); credentials are the environment's. Without it nothing is copied.

    Every call reaches for the store anew until it has been there, and raises a `UserError` where
    there is none of this kind, or a password in its address.
    """

    def __init__(self, storage: str | Path, uri: str | None) -> None:
        self.storage = Path(storage).expanduser().resolve()
        self._uri = uri

    @property
    def used(self) -> bool:
        """Whether there is a store."""
        return self._uri is not None

    @cached_property
    def _found(self) -> tuple[Any, str]:
        """The store, and the folder in it. Asking for some stores' takes the network."""
        uri = self._uri or ""
        if urlsplit(uri).username or urlsplit(uri).password:
            raise UserError("mirror: must hold no key; keys are environment variables")
        from pyarrow import ArrowInvalid, fs

        try:
            store, root = fs.FileSystem.from_uri(uri)
        except (ArrowInvalid, OSError) as error:
            raise UserError(f"mirror: no object store at {uri!r}: {one_line(error)}") from None
        return store, root

    @property
    def _store(self) -> Any:
        return self._found[0]

    @property
    def _root(self) -> str:
        return self._found[1]

    def check(self) -> None:
        """Writes to the store.

        Raises:
            UserError: it cannot be written.
        """
        if not self.used:
            return
        try:
            self._store.create_dir(self._root)
            with self._store.open_output_stream(f"{self._root}/.probe"):
                pass
            self._store.delete_file(f"{self._root}/.probe")
        except OSError as error:
            raise UserError(f"mirror: cannot write to {self._uri!r}: {one_line(error)}") from None

    def push(self, path: Path) -> None:
        """Replaces the store's copy of a file or folder.

        Raises:
            MirrorError: the store does not answer, or refuses.
        """
        if not self.used:
            return
        there = self._there(path)
        try:
            if path.is_dir():
                self._store.create_dir(there)
                self._store.delete_dir_contents(there)
            try:
                _copy(str(path), there, destination_filesystem=self._store)
            except FileNotFoundError:  # a store of files needs the folder first
                self._store.create_dir(there.rpartition("/")[0])
                _copy(str(path), there, destination_filesystem=self._store)
        except OSError as error:
            raise MirrorError(*error.args) from error

    def offer(self, path: Path, proof: str) -> None:
        """Pushes a folder that the store has not; it has one that holds the file `proof`."""
        if not self.used:
            return
        from pyarrow import fs

        if self._store.get_file_info(self._there(path / proof)).type == fs.FileType.NotFound:
            self.push(path)

    def pull(self, path: Path) -> bool:
        """Replaces a file or folder by the store's copy; False where that has none.

        Raises:
            OSError: the store does not answer, or refuses.
        """
        partial = self._download(path)
        if partial is None:
            return False
        _place(partial, path)
        return True

    def fetch(self, path: Path, proof: str = "") -> None:
        """Pulls what is not here; a folder is here once it has the file `proof`."""
        partial = None if (path / proof).exists() else self._download(path)
        if partial is not None:
            if (path / proof).exists():  # another process of this node was faster, and reads it
                shutil.rmtree(partial)
            else:
                _place(partial, path)

    def _download(self, path: Path) -> Path | None:
        """The store's copy, complete, beside where it belongs; None where it has none."""
        if not self.used:
            return None
        from pyarrow import fs

        there = self._there(path)
        kind = self._store.get_file_info(there).type
        if kind == fs.FileType.NotFound:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".pulled-{os.getpid()}-{path.name}")
        shutil.rmtree(partial, ignore_errors=True)
        if kind == fs.FileType.Directory:
            partial.mkdir()
        _copy(there, str(partial), source_filesystem=self._store)
        return partial

    def files(self, folder: Path) -> Iterator[Path]:
        """The files that the store has of a folder."""
        return (folder / item.base_name for item in self._listed(folder) if item.is_file)

    def folders(self, folder: Path) -> Iterator[Path]:
        """The folders that the store has in a folder."""
        return (folder / item.base_name for item in self._listed(folder) if not item.is_file)

    def _listed(self, folder: Path) -> list[Any]:
        if not self.used:
            return []
        from pyarrow import fs

        selector = fs.FileSelector(self._there(folder), allow_not_found=True)
        listed: list[Any] = self._store.get_file_info(selector)
        return listed

    def _there(self, path: Path) -> str:
        return f"{self._root}/{path.relative_to(self.storage).as_posix()}"


def _place(partial: Path, path: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def _copy(source: str, destination: str, **filesystems: Any) -> None:
    from pyarrow import fs

    fs.copy_files(source, destination, **filesystems)
