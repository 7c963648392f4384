"""What an installation leaves behind that is no part of the system: removed, or made to depend
on nothing but the packages.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable

from buildkit.bootstrap.full_disk import program_error
from buildkit.bootstrap.resolved import Module
from buildkit.packages.errors import PackageError
from buildkit.packages.rpm_database import SQLITE, read_headers
from buildkit.packages.rpm_header import FILEMTIMES

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


def newest_file(database: str) -> int:
    """The newest time of a file, in seconds, as the packages in a database's directory say it.

    A file may be newer than its package claims to be; to clamp it would make `rpm -V` report it.
    Ghosts count too: what they say comes from the packages as well.
    """
    path = f"{database}/{SQLITE}"
    if not os.path.exists(path):
        return 0
    newest = 0
    try:
        for header in read_headers(path):
            if FILEMTIMES in header:
                newest = max(newest, *header.integers(FILEMTIMES), 0)
    except PackageError as error:
        message = f"the package database of the new system: {error}"
        raise program_error(message, str(error)) from error
    return newest


def clean(root: str, *, dbpath: str, before: frozenset[str], how: str) -> None:
    """Clean a root after an installation; `before` is what `present` said ahead of it.

    `how` is one of `steps.CLEANINGS`: with `all` the database of packages goes too, with `none`
    whatever rpm and scriptlets left stays.

    Changes the caller's root directory for good, so that no link of the new system can lead to
    the host's files: to be called in a child.
    """
    os.chroot(root)
    os.chdir("/")
    if how != "none":
        for pattern in _REMOVED:
            for path in glob.glob(f"/{pattern}"):
                remove(path)
        for name in _BACKUPS:
            remove(f"/etc/{name}-")
        for path in _MADE_BY_DNF:
            if path not in before and not glob.glob("/usr/bin/*dnf*") and _is_empty(f"/{path}"):
                os.rmdir(f"/{path}")
        if os.path.isfile("/etc/machine-id") and os.path.getsize("/etc/machine-id"):
            os.truncate("/etc/machine-id", 0)  # machine-id(5): made at the first boot
    if how == "all":
        remove(dbpath)
    else:
        settle_database(dbpath)


def write_modules(modules: Iterable[Module]) -> None:
    """Write down which streams are enabled, for a dnf of the system's own; in its root."""
    for module in modules:
        os.makedirs("/etc/dnf/modules.d", exist_ok=True)
        with open(f"/etc/dnf/modules.d/{module.name}.module", "w", encoding="utf-8") as file:
            file.write(f"[{module.name}]\nname={module.name}\nstream={module.stream}\n")
            file.write("profiles=\nstate=enabled\n")


def move_database(dbpath: str) -> None:
    """Put the database where the rpm of the new system looks for it; in its root."""
    try:
        with open("/usr/lib/rpm/macros", encoding="utf-8", errors="replace") as file:
            found = re.search(r"^%_dbpath\s+(\S+)", file.read(), re.MULTILINE)
    except OSError:  # the system has no rpm of its own
        return
    if found is None:
        return
    wanted = found[1].replace("%{_var}", "/var").replace("%{_usr}", "/usr")
    wanted = wanted.replace("%{_prefix}", "/usr").replace("%{_localstatedir}", "/var")
    if "%" in wanted or os.path.realpath(wanted) == os.path.realpath(dbpath):
        return
    os.makedirs(wanted, exist_ok=True)
    for name in os.listdir(dbpath):
        shutil.move(f"{dbpath}/{name}", f"{wanted}/{name}")
    os.rmdir(dbpath)


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
        remove(f"{directory}/{name}")


def remove(path: str) -> None:
    """Remove a file or a tree, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _is_empty(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)
