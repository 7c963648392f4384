"""A small Debian: some real packages of bookworm and tiny ones of our own, in a signed mirror.

The real ones are what a system with a shell and dpkg is made of (12 MB); they are fetched once.

    DIRECTORY/debian/dists/bookworm/    signed by archive.gpg; also again, unsigned, expired
    DIRECTORY/debian/pool/              the packages
    DIRECTORY/other.gpg                 another key
    DIRECTORY/debs/                     packages that are in no suite
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.buildkit.support import Pybuild

VERSION = "2"  # to be changed with what is made here
SUITE = "bookworm"
DATE = "Wed, 01 Jan 2025 00:00:00 UTC"
_SEEDS = "base-files base-passwd coreutils dash diffutils dpkg hello sed grep tar libc-bin".split()
_CONFIG = """\
Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Etc::trusted "{root}/none";
Dir::Etc::trustedparts "{root}/none.d";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
"""
_SOURCE = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
    "http://deb.debian.org/debian bookworm main\n"
)
_CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: The Tests <tests@example.org>
Description: tiny
"""
# It asks for what only a real system has, and writes down what it sees of the machine.
_POSTINST = """\
#!/bin/sh
set -e
echo nothing >/dev/null
chgrp mail /usr/bin/greeting
chmod 2755 /usr/bin/greeting
cat /etc/hostname /etc/resolv.conf >/seen 2>/dev/null || :
env | grep SECRET >>/seen || :
chown 1234:4321 /seen
"""
_EPOCH = 1735689600  # 2025-01-01: of our own packages, older than the real ones


def make(directory: Path) -> None:
    """Make the mirror; raises CalledProcessError where something is missing."""
    pool = directory / "debian/pool"
    pool.mkdir(parents=True)
    _fetch(directory / "apt", pool)
    _own(directory, pool)
    for name in ("archive", "other"):
        _key(directory, name)
    debs = sorted(pool.glob("*.deb"))
    packages = b"".join(_stanza(deb, "pool") for deb in debs)
    for suite in (SUITE, "again", "unsigned", "expired"):
        _suite(directory, suite, packages)


def _fetch(root: Path, pool: Path) -> None:
    for folder in (
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
    ):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg").mkdir()
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(_SOURCE)
    (root / "apt.conf").write_text(_CONFIG.format(root=root))
    environment = {**os.environ, "APT_CONFIG": str(root / "apt.conf")}
    for argv in (["update"], ["--yes", "--download-only", "install", *_SEEDS]):
        subprocess.run(["apt-get", "-qq", *argv], env=environment, check=True, timeout=300)
    for deb in (root / "var/cache/apt/archives").glob("*.deb"):
        deb.rename(pool / deb.name.replace("%3a", "."))
    shutil.rmtree(root)


def _own(directory: Path, pool: Path) -> None:
    package(
        pool,
        "greeting",
        "1.0",
        "Recommends: weakling\n",
        {
            "usr/bin/greeting": "#!/bin/sh\necho Hello, Debian!\n",
            "usr/share/doc/greeting/copyright": "License: MIT\n",
            "usr/share/doc/greeting/README": "docs\n",
            "usr/share/man/man1/greeting.1": "manual\n",
            "usr/share/locale/de/LC_MESSAGES/greeting.mo": "de\n",
            "usr/share/locale/fr/LC_MESSAGES/greeting.mo": "fr\n",
        },
        {
            "postinst": _POSTINST,
        },
    )
    package(pool, "weakling", "1.0", "", {"usr/share/weakling": "weak\n"})
    package(pool, "needy", "1.0", "Depends: nowhere\n", {})
    package(pool, "wishful", "1.0", "Depends: weakling\n", {})
    package(pool, "breaking", "1.0", "", {}, {"postinst": "#!/bin/sh\nexit 3\n"})
    package(pool, "sleepy", "1.0", "", {}, {"postinst": "#!/bin/sh\nsleep 1000\n"})
    debs = directory / "debs"
    debs.mkdir()
    package(debs, "local", "2:3.0-1", "Depends: weakling\n", {"usr/share/local": "local\n"})


def package(
    folder: Path,
    name: str,
    version: str,
    fields: str,
    tree: dict[str, str],
    scripts: dict[str, str] | None = None,
) -> Path:
    """Make a .deb; `fields` are lines of its control file."""
    root = folder / f"{name}.tree"
    (root / "DEBIAN").mkdir(parents=True)
    control = _CONTROL.format(name=name, version=version) + fields
    (root / "DEBIAN/control").write_text(control)
    for script, text in (scripts or {}).items():
        (root / "DEBIAN" / script).write_text(text)
        (root / "DEBIAN" / script).chmod(0o755)
    for path, text in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(0o755 if "/bin/" in path else 0o644)
    for found in (root, *root.rglob("*")):
        if found.is_dir():
            found.chmod(0o755)
    deb = folder / f"{name}_{version.replace(':', '.')}_all.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(root), str(deb)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(_EPOCH)}
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)
    return deb


def _key(directory: Path, name: str) -> None:
    home = directory / f"{name}.home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    made = [*gpg, "--passphrase", "", "--quick-generate-key", name, "rsa2048", "sign", "never"]
    subprocess.run(made, check=True, capture_output=True)
    with open(directory / f"{name}.gpg", "wb") as file:
        subprocess.run([*gpg, "--export"], check=True, stdout=file)
    with open(directory / f"{name}.asc", "wb") as file:
        subprocess.run([*gpg, "--armor", "--export"], check=True, stdout=file)


def _stanza(deb: Path, folder: str) -> bytes:
    fields = subprocess.run(["dpkg-deb", "--field", deb], check=True, stdout=subprocess.PIPE)
    content = deb.read_bytes()
    return (
        fields.stdout.rstrip(b"\n")
        + (
            f"\nFilename: {folder}/{deb.name}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
        ).encode()
    )


def _suite(directory: Path, suite: str, packages: bytes) -> None:
    place = directory / "debian/dists" / suite
    index = place / "main/binary-amd64/Packages.gz"
    index.parent.mkdir(parents=True)
    index.write_bytes(gzip.compress(packages, mtime=0))
    content = index.read_bytes()
    release = (
        f"Origin: Tests\nSuite: {suite}\nCodename: {suite}\nDate: {DATE}\n"
        "Architectures: amd64\nComponents: main\n"
        + ("Valid-Until: Thu, 02 Jan 2025 00:00:00 UTC\n" if suite == "expired" else "")
        + "SHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-amd64/Packages\n"
        f" {hashlib.sha256(content).hexdigest()} {len(content)} main/binary-amd64/Packages.gz\n"
    )
    (place / "Release").write_text(release)
    if suite != "unsigned":
        gpg = ["gpg", "--homedir", str(directory / "archive.home"), "--batch", "--yes", "--quiet"]
        argv = [*gpg, "--clearsign", "-o", str(place / "InRelease"), str(place / "Release")]
        subprocess.run(argv, check=True, capture_output=True)


def add_mirror(pybuild: Pybuild, mirror: Path) -> None:
    """Give a context the mirror, links to its files, and the keys."""
    shutil.copytree(mirror / "debian", pybuild.context / "debian", copy_function=_link)
    for path in (*mirror.glob("*.asc"), *mirror.glob("*.gpg"), *mirror.glob("debs/*")):
        _link(path, pybuild.context / path.name)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another filesystem
        shutil.copy2(source, target)
