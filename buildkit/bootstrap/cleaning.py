"""What an installation leaves behind that is no part of the system: removed, or made to depend
on nothing but the packages.
"""

from __future__ import annotations

import glob
import os
import shutil
import sqlite3

# Where an rpm database may be (rpm's %_dbpath, by distribution and age).
DATABASE_PLACES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")

_REMOVED = (
    "root/.rpmdb",
    ".rpmdb",
    "var/log/dnf*.log*",
    "var/log/hawkey.log*",
    "var/cache/ldconfig/aux-cache",  # inode numbers and times of the build machine
    "var/lib/systemd/random-seed",
    "etc/.pwd.lock",
)
_BACKUPS = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
# dnf makes these; they stay if the system has a dnf of its own, whose package owns them.
_MADE_BY_DNF = ("etc/dnf/modules.d", "etc/dnf", "var/lib/dnf", "var/cache/dnf")


def clean(root: str, *, dbpath: str, before: frozenset[str]) -> None:
    """Clean a root after an installation; `before` is what `present` said ahead of it.

    Changes the caller's root directory for good, so that no link of the new system can lead to
    the host's files: to be called in a child.
    """
    os.chroot(root)
    os.chdir("/")
    root = ""
    for pattern in _REMOVED:
        for path in glob.glob(f"{root}/{pattern}"):
            _remove(path)
    for name in _BACKUPS:
        _remove(f"{root}/etc/{name}-")
    if not glob.glob(f"{root}/usr/bin/*dnf*"):
        for path in _MADE_BY_DNF:
            if path not in before and _is_empty(f"{root}/{path}"):
                os.rmdir(f"{root}/{path}")
    settle_database(f"{root}{dbpath}")


def present(*roots: str) -> frozenset[str]:
    """Which of the directories that dnf makes one of the roots has."""
    paths = ((root, path) for root in roots for path in _MADE_BY_DNF)
    return frozenset(path for root, path in paths if os.path.isdir(f"{root}/{path}"))


def settle_database(directory: str) -> None:
    """Write the rpm database's log back into it, and store it without gaps.

    rpm asks sqlite to keep the write-ahead log (19 MB beside 2 MB of database); deleting that
    file without this loses every package.
    """
    path = f"{directory}/rpmdb.sqlite"
    if os.path.isfile(path) and not os.path.islink(path):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("pragma wal_checkpoint(truncate)")
            connection.execute("pragma journal_mode=delete")
            connection.execute("vacuum")
        finally:
            connection.close()
    for name in ("rpmdb.sqlite-wal", "rpmdb.sqlite-shm", ".rpm.lock"):
        _remove(f"{directory}/{name}")


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _is_empty(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)
