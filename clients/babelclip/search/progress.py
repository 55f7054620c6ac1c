"""What has been embedded of a folder, image by image, so that a run goes on where the last one stopped.

A SQLite file beside the vectors. Each batch is committed when it is answered: a process that is killed, or a
server that goes away, costs no more than the batch that was under way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from babelclip.embeddings import Embeddings, Vectors

FILE = "progress.sqlite"
FORMAT = 1
State = tuple[int, int]
"""Bytes of a file and the nanosecond it was written: another of either is another image."""
NO_STATE: State = (-1, -1)
"""Of a file that could not be asked; it is embedded again by every run."""

_TABLES = """
CREATE TABLE images (
    space TEXT NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    vector BLOB NOT NULL, PRIMARY KEY (space, path)
);
CREATE TABLE answers (space TEXT PRIMARY KEY, logit_scale REAL NOT NULL, version TEXT NOT NULL);
"""


def state_of(path: Path) -> State | None:
    """The state of a file; None where the file cannot be asked."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns


@contextmanager
def open_progress(folder: Path, say: Callable[[str], None]) -> Iterator[Kept]:
    """The progress of what is written to `folder`, held against other runs until the block ends.

    `say` gets a sentence when the file is not valid and is made anew.

    Raises:
        OSError: another run has it, or it cannot be read or written, here or within the block.
    """
    path = folder / FILE
    try:
        try:
            connection = _connect(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            say(f"{path} is no progress of an earlier run ({error}): all images are embedded anew")
            path.unlink()
            connection = _connect(path)
        with closing(connection):
            yield Kept(connection)
    except sqlite3.Error as error:
        held = "another run is writing there" if "locked" in str(error) else str(error)
        raise OSError(f"cannot keep progress in {path}: {held}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        elif version != FORMAT:
            raise sqlite3.DatabaseError(f"it is of format {version}, not {FORMAT}")
        connection.execute("SELECT 1 FROM images, answers LIMIT 0")  # Reads what the tables are.
        connection.execute("COMMIT")
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot read, and that is no text.
        connection.close()
        raise sqlite3.DatabaseError("its tables cannot be read") from error
    except BaseException:
        connection.close()
        raise
    return connection


class Kept:
    """Vectors by embedding space and path; paths are of bytes, as the system has them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def spaces(self) -> list[str]:
        """The embedding spaces that there are vectors of."""
        return [space for (space,) in self._connection.execute("SELECT DISTINCT space FROM images")]

    def states(self, space: str) -> dict[bytes, State]:
        """The images that have a vector of this space, each as it was when it was embedded."""
        rows = self._connection.execute("SELECT path, size, modified FROM images WHERE space = ?", (space,))
        return {path: (size, modified) for path, size, modified in rows}

    def add(self, found: Embeddings, images: Iterable[tuple[bytes, State, Vectors]]) -> None:
        """Commits a batch: what was answered, and of each image its path, state and vector, float32 [D]."""
        rows = [(found.space, path, *state, vector.astype("<f4").tobytes()) for path, state, vector in images]
        answer = (found.space, found.logit_scale, found.version)
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", answer)
            connection.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)", rows)

    def embeddings(self, space: str, paths: Sequence[bytes]) -> Embeddings:
        """The vectors of images that `states` names or `add` was given, at least one, in this order.

        Raises:
            OSError: a vector is missing or has another length than the others; the file is damaged.
        """
        rows = dict(self._connection.execute("SELECT path, rowid FROM images WHERE space = ?", (space,)))
        answer = self._connection.execute(
            "SELECT logit_scale, version FROM answers WHERE space = ?", (space,)
        )
        logit_scale, version = answer.fetchone() or (1.0, "")
        vectors: Vectors | None = None
        for index, path in enumerate(paths):
            found = self._connection.execute(
                "SELECT CAST(vector AS BLOB) FROM images WHERE rowid = ?", (rows.get(path),)
            )
            (data,) = found.fetchone() or (b"",)
            if vectors is None:
                vectors = np.empty((len(paths), len(data) // 4), dtype=np.float32)
            if not data or len(data) != 4 * vectors.shape[1]:
                raise OSError(f"{FILE} is damaged: delete it, and all images are embedded anew")
            vectors[index] = np.frombuffer(data, dtype="<f4")
        assert vectors is not None
        return Embeddings(vectors, space, float(logit_scale), version=str(version))

    def keep(self, space: str, paths: Iterable[bytes]) -> None:
        """Forgets every other image and every other space."""
        with self._transaction() as connection:
            connection.execute("CREATE TEMP TABLE kept (path BLOB PRIMARY KEY)")
            connection.executemany("INSERT INTO kept VALUES (?)", ((path,) for path in paths))
            connection.execute("DELETE FROM images WHERE space != ? OR path NOT IN kept", (space,))
            connection.execute("DELETE FROM answers WHERE space != ?", (space,))
            connection.execute("DROP TABLE kept")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection:
            self._connection.execute("BEGIN")
            yield self._connection
