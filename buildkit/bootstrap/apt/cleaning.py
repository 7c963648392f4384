"""What mmdebstrap and scripts of packages leave behind that is no part of the system.

Each function is called with the new root as the process's own: no link of it leads elsewhere.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable

from buildkit.bootstrap.apt.mmdebstrap import DPKG_CONFIG
from buildkit.bootstrap.cleaning import remove
from buildkit.bootstrap.resolved import AnyPackage, DebPackage
from buildkit.errors import BuildError
from buildkit.packages.dpkg_status import STATUS, read_status
from buildkit.packages.errors import PackageError

# Configuration for this one installation, whatever --clean says.
_OURS = (
    "/etc/apt/sources.list",
    "/etc/apt/apt.conf.d/99mmdebstrap",
    DPKG_CONFIG,
    "/var/lib/apt/extended_states",
)
_REMOVED = (
    "/var/lib/dpkg/*-old",
    "/var/lib/dpkg/lock*",
    "/var/lib/dpkg/triggers/Lock",
    "/var/lib/dpkg/available",
    "/var/lib/dpkg/cmethopt",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/aux-cache",  # inode numbers and times of the build machine
    "/var/cache/apt/*.bin",
    "/var/cache/apt/archives/lock",
    "/var/lib/apt/lists/*",
    "/var/lib/systemd/random-seed",
    "/var/log/*.log",
    "/var/log/apt/*",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
    "/run/*",
    "/tmp/*",
)
# mmdebstrap makes these; they stay if a package owns them, or if something is in them.
_MADE = (
    "/etc/apt/apt.conf.d",
    "/etc/apt/preferences.d",
    "/etc/apt/sources.list.d",
    "/etc/apt/auth.conf.d",
    "/etc/apt",
    "/var/cache/apt/archives/partial",
    "/var/cache/apt/archives",
    "/var/cache/apt",
    "/var/lib/apt/lists/partial",
    "/var/lib/apt/lists",
    "/var/lib/apt/mirrors/partial",
    "/var/lib/apt/mirrors",
    "/var/lib/apt/periodic",
    "/var/lib/apt",
    "/var/log/apt",
)
_FSTAB = b"# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"
_DATABASES = ("/var/lib/dpkg", "/var/lib/apt")


def enter(root: str) -> None:
    """Make a directory the caller's root for good."""
    os.chroot(root)
    os.chdir("/")


def check_installed(packages: Iterable[AnyPackage]) -> None:
    """Raise BuildError unless dpkg's database has these packages, installed, and no other."""
    try:
        with open(f"/{STATUS}", "rb") as file:
            found = {f"{p.name}_{p.version}_{p.arch}" for p in read_status(file.read(), STATUS)}
    except (OSError, PackageError) as error:
        raise BuildError(f"dpkg's database in the new system: {error}") from error
    wanted = {package.id for package in packages}
    if found != wanted:
        missing = ", ".join(sorted(wanted - found)) or "nothing"
        more = ", ".join(sorted(found - wanted)) or "nothing"
        raise BuildError(
            f"mmdebstrap did not install what was resolved: {missing} is missing, "
            f"{more} is too much"
        )


def clean(packages: Iterable[AnyPackage], how: str) -> None:
    """Clean after an installation of these packages.

    `how` is one of `steps.CLEANINGS`: with `all` the database of packages goes too, with `none`
    whatever scripts left stays.
    """
    for path in _OURS:
        remove(path)
    _empty("/dev")
    owned = _owned()
    if how != "none":
        for pattern in _REMOVED:
            for path in glob.glob(pattern):
                if path not in owned:
                    remove(path)
        if _content("/etc/fstab") == _FSTAB and "/etc/fstab" not in owned:
            os.unlink("/etc/fstab")
        if _content("/etc/machine-id"):
            os.truncate("/etc/machine-id", 0)  # machine-id(5): made at the first boot
    for path in _MADE:
        if path not in owned and os.path.isdir(path) and not os.listdir(path):
            os.rmdir(path)
    if how == "all":
        for path in _DATABASES:
            remove(path)
    elif "/usr/bin/apt-get" in owned:
        _write_reasons(packages)


def _write_reasons(packages: Iterable[AnyPackage]) -> None:
    """Say which packages nobody asked for, to an apt of the system's own (`apt autoremove`)."""
    with open("/var/lib/apt/extended_states", "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        for package in sorted(packages, key=lambda package: package.id):
            if isinstance(package, DebPackage) and package.reason != "user":
                arch = package.arch
                if arch == "all":  # apt's own spelling
                    arch = _native()
                file.write(f"Package: {package.name}\nArchitecture: {arch}\nAuto-Installed: 1\n\n")


def _native() -> str:
    content = _content("/var/lib/dpkg/arch") or b""
    return content.decode("ascii", "replace").split("\n")[0]


def _owned() -> frozenset[str]:
    """All paths of packages."""
    found: set[str] = set()
    for path in glob.glob("/var/lib/dpkg/info/*.list"):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            found.update(line.rstrip("\n") for line in file)
    return frozenset(found)


def _content(path: str) -> bytes | None:
    """Of a regular file; None if there is none."""
    if not os.path.isfile(path) or os.path.islink(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def _empty(folder: str) -> None:
    if os.path.isdir(folder) and not os.path.islink(folder):
        for name in os.listdir(folder):
            remove(f"{folder}/{name}")
