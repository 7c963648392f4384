"""rpm's command lines: packages into a root, keys into a database, signatures of files.

All of its macros are its own defaults and what stands here, without /etc/rpm and ~/.rpmmacros.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from buildkit.errors import BuildError
from buildkit.steps import BootstrapStep

_MACROS = (
    "/usr/lib/rpm/macros:/usr/lib/rpm/macros.d/macros.*:/usr/lib/rpm/platform/%{_target}/macros:"
    "/usr/lib/rpm/fileattrs/*.attr:/usr/lib/rpm/*/macros"
)
_SIGNATURE = re.compile(r"^\s+(.*signature, key (?:ID|fingerprint:?) ?\S*): (\w+)", re.I | re.M)
_DIGEST = re.compile(r"^\s+(.* digest): (?!OK)(\w+)", re.M)
# RPMVSF_NOMD5 (rpmts.h): no signature covers that sum, and it is the slowest. The payload has a
# digest in the signed header, and the whole file one in the metadata or the lock file.
_WITHOUT_MD5 = "_pkgverify_flags 0x20000"
INSTALLING = re.compile(rb"^[^\s:]+-[^\s:-]+-[^\s:-]+\.[a-z0-9_]+$", re.M)


def configuration(dbpath: str) -> tuple[str, ...]:
    """What every call begins with."""
    return ("--macros", _MACROS, "--rcfile", "/usr/lib/rpm/rpmrc", "--dbpath", dbpath)


def install_arguments(
    step: BootstrapStep, *, root: str, dbpath: str, manifest: str, replaces: bool, arch: str
) -> tuple[str, ...]:
    """Install what a file lists, all of it verified before."""
    # fmt: off
    argv = [
        "rpm", *configuration(dbpath), "--root", root,
        # With -U an older package of the same name goes; with -i kernels stay beside each other.
        "-U" if replaces else "-i", "-v",
        # Digests of files are in the signed header, but that of the payload has been checked.
        "--nosignature", "--nodigest", "--nofiledigest", "--noplugins",
        "--oldpackage", "--replacepkgs",
        # Packages own /proc and its like too, which are mounted while rpm runs.
        "--define", "_netsharedpath /dev:/proc:/sys",
        "--define", "_pkgverify_level none",
    ]
    # fmt: on
    if step.langs:
        argv += ["--define", f"_install_langs {step.langs.replace(',', ':')}"]
    if not step.docs:
        argv.append("--excludedocs")
    if step.arch != arch:
        argv.append("--ignorearch")
    return (*argv, manifest)


def import_arguments(dbpath: str, keys: Iterable[str], root: str = "/") -> tuple[str, ...]:
    """Take keys into a database."""
    return ("rpmkeys", *configuration(dbpath), "--root", root, "--import", *keys)


def check_arguments(dbpath: str, files: Iterable[str]) -> tuple[str, ...]:
    """Say what the signatures and digests of files are worth with a database's keys."""
    return (*("rpmkeys", *configuration(dbpath), "--define", _WITHOUT_MD5, "-Kv"), *files)


def faults_of(said: str, names: Iterable[str]) -> dict[str, str]:
    """What is wrong with which of the checked files, in rpmkeys' own words."""
    found = {}
    sections: dict[str, list[str]] = {}
    for line in said.splitlines():
        if line[:1] in (" ", "\t"):
            if sections:
                next(reversed(sections.values())).append(line)
        elif line.endswith(":"):
            sections[line[:-1]] = []
    for name in names:
        lines = "\n".join(sections.get(name, ()))
        signatures = _SIGNATURE.findall(lines)
        digests = _DIGEST.search(lines)
        if digests is not None:
            found[name] = f"is damaged: {digests[1].strip()}: {digests[2]}"
        elif any(state.upper() == "BAD" for _, state in signatures):
            found[name] = "is damaged: its signature does not fit its content"
        elif not signatures:
            found[name] = "is not signed"
        elif not any(state.upper() == "OK" for _, state in signatures):
            found[name] = f"is signed with another key than the given ones: {signatures[0][0]}"
    return found


def present_database(*roots: str, dbpath: str = "") -> str | None:
    """Where the first of some directories that has a package database has it.

    That is in `dbpath`, or in the usual places without one. Raises BuildError for a database that
    the rpm of today's distributions does not write.
    """
    for lower in roots:
        for place in (dbpath,) if dbpath else ("/usr/lib/sysimage/rpm", "/var/lib/rpm"):
            if os.path.isfile(f"{lower}{place}/rpmdb.sqlite"):
                return place
            for old in ("Packages", "Packages.db"):
                if os.path.isfile(f"{lower}{place}/{old}"):
                    raise BuildError(
                        f"the system's package database, {place}/{old}, is of an old kind",
                        hint="`rpmdb --rebuilddb` of a newer rpm makes it one of sqlite",
                    )
    return None
