"""A storage folder's copy in an object store, for nodes that do not see one folder.

A node works in its own storage folder, at the same path on all of them, and pushes what it has
finished; another pulls it when it needs it. A store shows a file once all of it is there. What a
record speaks of is pushed before the record, so whoever pulls a record can pull that too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prune_search.errors import UserError, one_line


class Mirror:
    """Copies files and folders below a storage folder to and from a store, under the same names.

    Args:
        storage: the storage folder on this node.
        uri: a folder in an object store, as pyarrow names it (s3://bucket/folder, gs://..., or
            file:///...); credentials are the environment's. Without it nothing is copied.

    Raises:
        UserError: no such kind of store, or a password in its address.
    """

    def __init__(self, storage: str | Path, uri: str | None) -> None:
        self._storage = Path(storage).expanduser().resolve()
        self._store: Any = None
        if uri is None:
            return
        if urlsplit(uri).username or urlsplit(uri).password:
            raise UserError("mirror: must hold no key; keys are environment variables")
        from pyarrow import ArrowInvalid, fs

        try:
            self._store, self._root = fs.FileSystem.from_uri(uri)
        except (ArrowInvalid, OSError) as error:
            raise UserError(f"mirror: no object store at {uri!r}: {one_line(error)}") from None
        self._uri = uri

    @property
    def used(self) -> bool:
        """Whether there is a store."""
        return self._store is not None

    def check(self) -> None:
        """Writes to the store.

        Raises:
            UserError: it cannot be written.
        """
        if self._store is None:
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
            OSError: the store does not answer, or refuses.
        """
        if self._store is None:
            return
        there = self._there(path)
        if path.is_dir():
            self._store.create_dir(there)
            self._store.delete_dir_contents(there)
        _copy(str(path), there, destination_filesystem=self._store)

    def offer(self, path: Path, proof: str) -> None:
        """Pushes a folder that the store has not; it has one that holds the file `proof`."""
        if self._store is None:
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
        if self._store is None:
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

    def pull_records(self, study: Path) -> None:
        """Pulls a study's own files and its trials' records; not their checkpoints."""
        for path in self._files(study):
            self.pull(path)
        for trial in self._folders(study / "trials"):
            self.pull(trial / "trial.json")

    def _files(self, folder: Path) -> Iterator[Path]:
        return (folder / item.base_name for item in self._listed(folder) if item.is_file)

    def _folders(self, folder: Path) -> Iterator[Path]:
        return (folder / item.base_name for item in self._listed(folder) if not item.is_file)

    def _listed(self, folder: Path) -> list[Any]:
        if self._store is None:
            return []
        from pyarrow import fs

        selector = fs.FileSelector(self._there(folder), allow_not_found=True)
        listed: list[Any] = self._store.get_file_info(selector)
        return listed

    def _there(self, path: Path) -> str:
        return f"{self._root}/{path.relative_to(self._storage).as_posix()}"


def _place(partial: Path, path: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def _copy(source: str, destination: str, **filesystems: Any) -> None:
    from pyarrow import fs

    fs.copy_files(source, destination, **filesystems)
