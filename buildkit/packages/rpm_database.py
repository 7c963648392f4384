"""rpm's database, in its sqlite form: a table of headers.

Read without rpm: an image's database is of whatever version its distribution has. The older
forms, Berkeley DB (to 4.16) and ndb (of SUSE), are recognized and not read.
"""

from __future__ import annotations

import os
import sqlite3
from urllib.parse import quote

from buildkit.packages.errors import PackageError
from buildkit.packages.rpm_header import ENTRY_SIZE, MAX_DATA, MAX_ENTRIES, START_SIZE, Header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SQLITE = "rpmdb.sqlite"
# What lies in the directory of a database that is no sqlite database.
UNSUPPORTED = {"Packages": "Berkeley DB", "Packages.db": "ndb"}

_SQLITE_MAGIC = b"SQLite format 3\0"
_MAGICS = (  # of other forms: where, what, name
    (0, b"RpmP", "ndb"),
    (12, b"\x61\x15\x06\x00", "Berkeley DB"),  # a hash, of a little-endian machine; or a big one
    (12, b"\x00\x06\x15\x61", "Berkeley DB"),
)
_LONGEST = START_SIZE + MAX_ENTRIES * ENTRY_SIZE + MAX_DATA


def read_headers(path: str, *, where: str = "") -> Iterator[Header]:
    """The headers of all installed packages, in the order of their installation.

    The file is only read, and must not change meanwhile: no lock is taken. `where` is what errors
    call it. Raises PackageError, or OSError where it cannot be opened.
    """
    where = where or path
    with open(path, "rb") as file:
        _check_kind(file.read(16), where)
    connection = _open(path)
    try:
        for row, blob in _rows(connection):
            try:
                header = Header.parse(blob)
            except PackageError as error:
                raise PackageError(f"{where}: package {row}: {error}") from error
            yield header
    except sqlite3.Error as error:
        raise PackageError(f"{where}: {error}") from error
    finally:
        connection.close()


def unsupported(name: str, where: str) -> PackageError:
    """The error for a database of another kind, known by the name of its file."""
    return _other_kind(UNSUPPORTED[name], where)


def _open(path: str) -> sqlite3.Connection:
    uri = f"file:{quote(os.path.abspath(path))}?mode=ro"
    # What an rpm that was killed leaves in its write-ahead log is read as rpm would, for which
    # sqlite makes a file beside it. Else nothing is made there.
    log = f"{path}-wal"
    if not os.path.isfile(log) or not os.path.getsize(log):
        uri += "&immutable=1"
    connection = sqlite3.connect(uri, uri=True)
    # A stranger made it: what its schema says is not run, and no value is larger than a header.
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _rows(connection: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    asked = "SELECT type FROM sqlite_master WHERE name = 'Packages'"
    if connection.execute(asked).fetchall() != [("table",)]:
        raise sqlite3.DatabaseError("has no table Packages, so it is not rpm's")
    for row, blob in connection.execute("SELECT hnum, blob FROM Packages ORDER BY hnum"):
        if not isinstance(row, int) or not isinstance(blob, bytes):
            raise sqlite3.DatabaseError(f"its table Packages holds {type(blob).__name__}")
        yield row, blob


def _check_kind(start: bytes, where: str) -> None:
    if start == _SQLITE_MAGIC:
        return
    for offset, magic, kind in _MAGICS:
        if start[offset : offset + len(magic)] == magic:
            raise _other_kind(kind, where)
    raise PackageError(f"{where}: not an sqlite database")


def _other_kind(kind: str, where: str) -> PackageError:
    return PackageError(
        f"{where}: is rpm's database in its {kind} form, of which only sqlite is supported"
    )
