"""The manifest of a preprocessed pool: the only truth about it, in one file with an index.

A case that the manifest does not list does not exist, whatever files a killed run has left. What a training asks at its
start is one row a modality, however many cases there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nnunet_mgcl.data.pool.older_manifest import Entry, FileEntry, read_older
from nnunet_mgcl.system.errors import UserError
from nnunet_mgcl.system.files import WriteError, is_there, replacing

MANIFEST = "manifest.sqlite"
SUFFIXES = (".b2nd", "_seg.b2nd", ".pkl")
"""The files of one case, as nnU-Net writes them."""

SAVE_EVERY = 20
"""Cases between two transactions: what a killed run loses at most."""

_VERSION = 1
_HASH = 16
"""Letters of a case's hash."""
_SCHEMA = f"""
CREATE TABLE modalities (name TEXT PRIMARY KEY, plan TEXT NOT NULL, digest TEXT, listing BLOB) WITHOUT ROWID;
CREATE TABLE cases (modality TEXT, name TEXT, slices INTEGER, hash TEXT NOT NULL,
    PRIMARY KEY (modality, name)) WITHOUT ROWID;
CREATE TABLE files (modality TEXT, name TEXT, entries TEXT NOT NULL, PRIMARY KEY (modality, name)) WITHOUT ROWID;
CREATE TABLE labelled (path TEXT PRIMARY KEY, entry TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
"""`cases` is kept narrow, since a training reads all of its names; what `mgcl prepare` compares is in `files`."""

_ENTRIES = TypeAdapter(list[Entry])
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}


class Manifest:
    """Which cases of a pool are preprocessed, from which raw files and with which plan entries.

    Changes count once `save` is called. A file of an earlier version, `manifest.json`, is taken over where there is no
    other, and stays.

    Args:
        pool: The folder of the preprocessed pool; each modality has a folder in it.
        writes: Whether it will be changed, by the one process that holds the pool's lock.

    Raises:
        UserError: The file is none that this class writes.
    """

    def __init__(self, pool: Path, *, writes: bool = False) -> None:
        self.pool, self.path, self.writes = pool, pool / MANIFEST, writes
        there = is_there(pool, "folder") and is_there(self.path)
        with self._explained():
            if not there and writes:
                with replacing(self.path) as temporary, closing(sqlite3.connect(temporary)) as new:
                    new.execute("PRAGMA journal_mode = OFF")  # of a file that is renamed once it is whole
                    self._fill(new)
            self._database = self._opened() if there or writes else sqlite3.connect(":memory:")
            if not there and not writes:
                self._fill(self._database)
            if not writes:
                self._database.execute("PRAGMA query_only = ON")
            if (version := self._one("PRAGMA user_version")) != _VERSION:
                raise sqlite3.DatabaseError(f"version {version}")

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def save(self) -> None:
        """Makes the changes count, all at once."""
        with self._explained():
            self._database.commit()

    def cases(self, modality: str) -> list[str]:
        """The preprocessed cases of a modality, sorted."""
        return [line[_HASH + 1 :] for line in self.listing(modality).decode().split("\n")[:-1]]

    def slices(self, modality: str) -> dict[str, int | None]:
        """Case -> its slices; None where an earlier version did not note them."""
        with self._explained():  # row by row: Python's collector would look through a list of all again and again
            return dict(self._database.execute("SELECT name, slices FROM cases WHERE modality = ?", (modality,)))

    def entries(self, modality: str) -> dict[str, list[FileEntry]]:
        """Case -> its raw files."""
        rows = self._rows("SELECT name, entries FROM files WHERE modality = ?", modality)
        try:
            for _, text in rows:
                _ENTRIES.validate_json(text)
        except ValidationError as error:
            raise self._unreadable(error.errors()[0]["msg"]) from None
        return {name: json.loads(text) for name, text in rows}

    def hashes(self, modality: str) -> dict[str, list[str]]:
        """Case -> hashes of its raw files, as folds of earlier versions have noted them."""
        return {case: [entry["sha256"] for entry in files] for case, files in self.entries(modality).items()}

    def digest(self, modality: str) -> str:
        """A hash of all cases with their raw files: what a training that has read the pool depends on."""
        stored = self._one("SELECT digest FROM modalities WHERE name = ?", modality)
        return stored or _sha256(self.listing(modality))

    def listing(self, modality: str) -> bytes:
        """A line a case, `HASH NAME`, by which two pools can be compared."""
        if stored := self._one("SELECT listing FROM modalities WHERE name = ?", modality):
            return bytes(stored)
        rows = self._rows("SELECT hash, name FROM cases WHERE modality = ? ORDER BY name", modality)
        return "".join(f"{digest} {name}\n" for digest, name in rows).encode()

    def plan(self, modality: str) -> dict[str, Any] | None:
        """The plan entries that a modality was preprocessed with; None: it was not."""
        return self._json("SELECT plan FROM modalities WHERE name = ?", modality)

    def begin(self, modality: str, plan: dict[str, Any]) -> None:
        """Notes the plan entries that a modality is preprocessed with; cases of another plan are forgotten."""
        if self.plan(modality) != plan:
            self.forget(modality, self.cases(modality))
            self._change("INSERT OR REPLACE INTO modalities (name, plan) VALUES (?, ?)", modality, json.dumps(plan))

    def add(self, modality: str, case: str, files: list[FileEntry], slices: int | None) -> None:
        """Lists a case whose files are written, or notes anew what is known of one."""
        digest = _case_hash(files)
        if self._one("SELECT hash FROM cases WHERE modality = ? AND name = ?", modality, case) != digest:
            self._outdate(modality)
        self._change("INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?)", modality, case, slices, digest)
        self._change("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", modality, case, json.dumps(files))

    def forget(self, modality: str, cases: Iterable[str]) -> None:
        """Lists some cases no more."""
        for case in cases:
            self._outdate(modality)
            for table in ("cases", "files"):
                self._change(f"DELETE FROM {table} WHERE modality = ? AND name = ?", modality, case)

    def labelled(self) -> dict[str, FileEntry]:
        """Raw image of a validation case, as a path below the raw dataset -> its entry (see `duplicates`)."""
        rows = self._rows("SELECT path, entry FROM labelled")
        try:
            return {path: json.loads(entry) for path, entry in rows}
        except ValueError as error:
            raise self._unreadable(error) from None

    def note_labelled(self, path: str, entry: FileEntry | None) -> None:
        """Remembers the entry of a labelled image; None: forgets it."""
        if entry is None:
            self._change("DELETE FROM labelled WHERE path = ?", path)
        else:
            self._change("INSERT OR REPLACE INTO labelled VALUES (?, ?)", path, json.dumps(entry))

    def note(self, name: str) -> Any:
        """What `set_note` has noted; None: nothing."""
        return self._json("SELECT value FROM notes WHERE name = ?", name)

    def set_note(self, name: str, value: Any) -> None:
        """Notes anything about the whole pool."""
        self._change("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, json.dumps(value))

    def store_digests(self) -> None:
        """Stores digest and listing of every modality that has changed: the next start reads them."""
        for (modality,) in self._rows("SELECT name FROM modalities WHERE digest IS NULL"):
            listing = self.listing(modality)
            given = _sha256(listing), listing, modality
            self._change("UPDATE modalities SET digest = ?, listing = ? WHERE name = ?", *given)

    def _outdate(self, modality: str) -> None:
        self._change("UPDATE modalities SET digest = NULL, listing = NULL WHERE name = ?", modality)

    def _opened(self) -> sqlite3.Connection:
        """A finished pool may lie in a folder that cannot be written to, where sqlite can lock nothing."""
        writable = os.access(self.path, os.W_OK) and os.access(self.pool, os.W_OK)
        if not writable and is_there(self.path.with_name(f"{MANIFEST}-journal")):
            found, expected = "a transaction that was killed half-way", "a folder that can be written to, to undo it"
            raise UserError(self.path, found, expected, "make it writable and run mgcl prepare")
        database = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={'rw' if writable else 'ro&immutable=1'}", timeout=60, uri=True
        )
        database.execute("PRAGMA trusted_schema = OFF")
        return database

    def _fill(self, database: sqlite3.Connection) -> None:
        """An empty database, or what an earlier version's file says."""
        older = read_older(self.pool)
        database.executescript(_SCHEMA)
        for modality, own in older.get("modalities", {}).items():
            database.execute("INSERT INTO modalities (name, plan) VALUES (?, ?)", (modality, json.dumps(own["plan"])))
            for case, files in own["cases"].items():
                database.execute("INSERT INTO cases VALUES (?, ?, NULL, ?)", (modality, case, _case_hash(files)))
                database.execute("INSERT INTO files VALUES (?, ?, ?)", (modality, case, json.dumps(files)))
        for path, entry in older.get("labelled", {}).items():
            database.execute("INSERT INTO labelled VALUES (?, ?)", (path, json.dumps(entry)))
        database.commit()

    def _rows(self, query: str, *given: Any) -> list[Any]:
        with self._explained():
            return self._database.execute(query, given).fetchall()

    def _one(self, query: str, *given: Any) -> Any:
        rows = self._rows(query, *given)
        return rows[0][0] if rows else None

    def _json(self, query: str, *given: Any) -> Any:
        text = self._one(query, *given)
        try:
            return None if text is None else json.loads(text)
        except (TypeError, ValueError) as error:
            raise self._unreadable(error) from None

    def _change(self, statement: str, *given: Any) -> None:
        with self._explained():
            self._database.execute(statement, given)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_ROOM:
                remedy = "free some space or make it writable, and run it again"
                raise WriteError(self.path, f"cannot be written ({error})", "room and permission", remedy) from None
            raise self._unreadable(error) from None

    def _unreadable(self, error: object) -> UserError:
        remedy = "remove the folder: mgcl prepare preprocesses the pool again"
        return UserError(self.path, f"cannot be read ({error})", "what mgcl prepare writes", remedy)


def pool_digests(pool: Path, modalities: Iterable[str]) -> dict[str, str]:
    """The digest of each modality of a preprocessed pool."""
    with Manifest(pool) as manifest:
        return {modality: manifest.digest(modality) for modality in modalities}


def noted_slices(images: Path) -> dict[str, int | None]:
    """Case -> its slices, of a modality's folder in a preprocessed pool."""
    with Manifest(images.parent) as manifest:
        return manifest.slices(images.name)


def read_listing(listing: bytes) -> dict[str, str]:
    """Case -> hash, of what `Manifest.listing` gives."""
    return {line[_HASH + 1 :]: line[:_HASH] for line in listing.decode(errors="replace").split("\n")[:-1]}


def _case_hash(files: list[FileEntry]) -> str:
    return _sha256("\n".join(entry["sha256"] for entry in files).encode())[:_HASH]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
