"""Who runs `pybuild` in a test, and with what.

Fixtures:   pybuild (run by whoever runs the tests), anybody (the test runs with root, with a user
            without rights, and with the root of a plain container), plain (the last of these),
            as_root, as_user, as_lone_user (who has a single id),
            hello_repository (the project's own packages), tiny_repository (extra, where its maker
            is there), debian_mirror, registry, seen (a proxy before it)
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.buildkit import debian_mirror as debian_mirror_maker
from tests.buildkit.support import Pybuild, make_pybuild
from tests.conftest import (
    plain_container_is_missing,
    remove,
    root_is_missing,
    userns_is_missing,
)
from tests.runtime.registry.fault_proxy import FaultProxy, running_proxy
from tests.runtime.registry.registries import PROGRAM, Registry, running_registry
from tests.support import BUSYBOX, CHECKOUT, PLAIN_CONTAINER, Caller, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


# A package that has what those of the example have not.
ODD = """\
Name: odd
Epoch: 7
Version: 2.0
Release: 3
Summary: It has what the others do not
Summary(de): Es hat, was die anderen nicht haben: Grüße
License: GPLv2+ and Public Domain
Vendor: The Vendor
Packager: The Packager <p@example.org>
Distribution: The Distribution
URL: https://example.org/?a=b&c
Group: Odd/Things
BuildArch: noarch
%description
Nothing else.
%install
mkdir -p %{buildroot}/usr/share/odd
echo content >%{buildroot}/usr/share/odd/file
ln -s file %{buildroot}/usr/share/odd/link
%files
%caps(cap_net_raw=ep) %config(noreplace) /usr/share/odd/file
/usr/share/odd/link
"""


# What these are about is the same however steps are kept apart: the plain container's turn of
# `anybody` is of the second tier there.
_SAME_IN_PLAIN_CONTAINERS = (
    *("cache", "downloads", "explain", "git_sources", "image_commands", "jobs", "load"),
    *("named_contexts", "outputs", "store_commands", "verify_reproducible"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what the first tier need not have."""
    for item in items:
        module = item.path.stem.removeprefix("test_")
        if "plain_container" in item.name and module in _SAME_IN_PLAIN_CONTAINERS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _busybox_is_there() -> None:
    if not BUSYBOX.exists():
        pytest.skip("/bin/busybox is not installed (busybox-static)")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An open registry, of this machine alone."""
    if not PROGRAM:
        pytest.skip("docker-registry is not installed")
    with running_registry(tmp_path_factory.mktemp("open") / "registry") as running:
        yield running


@pytest.fixture
def seen(registry: Registry) -> Iterator[FaultProxy]:
    """The same behind a proxy, which notes what is asked and does what a script says."""
    with running_proxy(registry.host) as running:
        yield running


@contextmanager
def new_room(public_root: Path) -> Iterator[Path]:
    """A directory for a `Pybuild`, gone afterwards with all that subordinate ids own in it."""
    path = Path(tempfile.mkdtemp(dir=public_root))
    path.chmod(0o755)
    try:
        yield path
    finally:
        remove(path)


@pytest.fixture
def _room(public_root: Path) -> Iterator[Path]:
    with new_room(public_root) as path:
        yield path


@pytest.fixture
def pybuild(_room: Path, user: Caller) -> Pybuild:
    """`pybuild` run by whoever runs the tests."""
    return pybuild_of(_room, "root" if os.geteuid() == 0 else "user", user)


@pytest.fixture(params=["root", "user", "plain_container"])
def anybody(_room: Path, user: Caller, request: pytest.FixtureRequest) -> Pybuild:
    """`pybuild` run by root, by a user without rights, and by root in a plain container."""
    return pybuild_of(_room, request.param, user)


@pytest.fixture
def plain(_room: Path, user: Caller) -> Pybuild:
    """`pybuild` run by root in a plain container: no namespaces, no mounts."""
    return pybuild_of(_room / "plain", "plain_container", user)


@pytest.fixture
def as_root(_room: Path, user: Caller) -> Pybuild:
    """`pybuild` run by root."""
    return pybuild_of(_room, "root", user)


@pytest.fixture
def as_user(_room: Path, user: Caller) -> Pybuild:
    """`pybuild` run by a user without rights."""
    return pybuild_of(_room / "user", "user", user)


@pytest.fixture
def as_lone_user(_room: Path, lone_user: Caller) -> Pybuild:
    """`pybuild` run by a user who has one id, and so no others in a user namespace."""
    return pybuild_of(_room / "lone", "user", lone_user)


def pybuild_of(directory: Path, who: str, user: Caller) -> Pybuild:
    """`pybuild` run by root, user or plain_container; skips the test where it cannot be."""
    reason = _PROBES[who]()
    if reason:
        pytest.skip(reason)
    if who == "user":
        return make_pybuild(directory, user)
    launcher = PLAIN_CONTAINER if who == "plain_container" else ()
    return make_pybuild(directory, Caller("root", 0, 0, "/root"), launcher=launcher)


_PROBES = {
    "root": root_is_missing,
    "user": userns_is_missing,
    "plain_container": plain_container_is_missing,
}


@pytest.fixture(scope="session")
def hello_repository(public_root: Path) -> Path:
    """The context of examples/hello: repo/, its key, motd."""
    path = public_root / "hello"
    made = run([CHECKOUT / "examples/hello/make-repository", path], timeout_s=120)
    if made.status:
        pytest.skip(f"no RPM repository can be made here: {made.stderr.strip()[-300:]}")
    (path / "motd").write_bytes((CHECKOUT / "examples/hello/motd").read_bytes())
    return path


@pytest.fixture(scope="session")
def rpm_packages(hello_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The packages of the example hello, and one that has what they do not."""
    work = tmp_path_factory.mktemp("rpmbuild")
    (work / "odd.spec").write_text(ODD)
    how = ["--define", f"_topdir {work}", "--define", "_build_id_links none"]
    made = run(["rpmbuild", "-bb", *how, work / "odd.spec"], timeout_s=60)
    assert made.status == 0, made.stderr
    return [*sorted((hello_repository / "repo").glob("*.rpm")), *work.glob("RPMS/*/*.rpm")]


@pytest.fixture(scope="session")
def rpm_database(rpm_packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of them that rpm made."""
    path = tmp_path_factory.mktemp("database") / "rpm"
    how = ["--define", "_db_backend sqlite", "--justdb", "--nodeps", "--nosignature"]
    made = run(["rpm", "--dbpath", path, *how, "--install", *rpm_packages])
    assert made.status == 0, made.stderr
    return path / "rpmdb.sqlite"


@pytest.fixture(scope="session")
def tiny_repository() -> Path:
    """Twelve tiny packages, and repositories that are broken each in its own way."""
    return made_repository("tiny")


def made_repository(profile: str) -> Path:
    """What the repository maker beside the checkout makes, kept between runs of the tests."""
    maker = CHECKOUT.parent / "shared/rpmrepo/make-rpm-repo"
    if not maker.exists():
        pytest.skip(f"extra where it is there: {maker}")
    path = _cache() / "rpmrepo" / profile
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "complete").exists():
            made = run([maker, "-q", path, profile], timeout_s=600)
            if made.status:
                pytest.skip(f"{maker} {profile}: {made.stderr.strip()[-300:]}")
            (path / "complete").touch()
    return path


def _cache() -> Path:
    if named := os.environ.get("PYBUILD_TEST_CACHE"):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/cache/pybuild-tests")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "pybuild-tests"


@pytest.fixture(scope="session")
def debian_mirror() -> Path:
    """A small Debian (`debian_mirror`)."""
    return made_debian_mirror()


def made_debian_mirror() -> Path:
    """The same, kept between runs of the tests."""
    path = _cache() / f"debian-{debian_mirror_maker.VERSION}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "complete").exists():
            shutil.rmtree(path, ignore_errors=True)
            try:
                debian_mirror_maker.make(path)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"no Debian mirror can be made here: {error}")
            for found in (path, *path.rglob("*")):
                if found.suffix != ".home" and found.parent.suffix != ".home":
                    found.chmod(0o755 if found.is_dir() else 0o644)
            (path / "complete").touch()
    return path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA that nobody knows: ca.pem, and a server's server.pem for 127.0.0.1."""
    place = tmp_path_factory.mktemp("ca")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    make += ["-nodes", "-days", "30", "-keyout"]
    subprocess.run(
        [*make, "ca.key", "-out", "ca.pem", "-subj", "/CN=Corporate CA"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        [*make, "server.key", "-out", "server.crt", "-subj", "/CN=127.0.0.1", "-CA", "ca.pem",
         "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    pem = (place / "server.crt").read_bytes() + (place / "server.key").read_bytes()
    (place / "server.pem").write_bytes(pem)
    return place
