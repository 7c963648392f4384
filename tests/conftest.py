"""Probes of the machine, and the fixtures of every package.

A test is skipped only for something that a probe tried and found missing; the reason is printed.

Markers:    needs_root, needs_userns, needs_program(NAME…), claim(NAME): see `claims`
Fixtures:   public (a directory that other users can reach), store, caller (root, a user with
            subordinate ids, a user with one id: the test runs as each), user, busybox (an image)
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.claims import CLAIMS, Counted
from tests.support import (
    BUSYBOX,
    PLAIN_CONTAINER,
    Caller,
    busybox_layer,
    environment,
    make_image,
    run,
    which,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# With subordinate ids, which useradd grants; and an id that no account has.
_ACCOUNT = "pybuild-test"
_LONE_ID = 54321


def pytest_addoption(parser: pytest.Parser) -> None:
    """For a release: what is claimed has been shown, on this machine."""
    words = "a test of a claim that is skipped is a failure"
    parser.addoption("--claims-in-full", action="store_true", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Register our markers, and let the summary name every reason for a skip."""
    config.pluginmanager.register(Counted(CLAIMS))
    config.addinivalue_line("markers", "claim(name): one of those that `tests.claims` counts")
    config.addinivalue_line("markers", "needs_root: only root can do what is tested")
    config.addinivalue_line("markers", "needs_userns: unprivileged user namespaces")
    config.addinivalue_line("markers", "needs_program(*names): programs that the test calls")
    if "s" not in config.option.reportchars:
        config.option.reportchars += "s"
    # Started by nohup or in a shell's background, we would hand ignored signals down to all that
    # the tests start, whose deaths by these signals are tested.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine was probed for in vain."""
    if item.get_closest_marker("needs_root") and (reason := root_is_missing()):
        pytest.skip(reason)
    if item.get_closest_marker("needs_userns") and (reason := userns_is_missing()):
        pytest.skip(reason)
    for marker in item.iter_markers("needs_program"):
        for name in marker.args:
            if not which(name):
                pytest.skip(f"{name} is not installed")


@functools.cache
def root_is_missing() -> str:
    """Why this is no root that can make namespaces and mount, or ""."""
    if os.geteuid() != 0:
        return "not root"
    tried = run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"])
    return f"root may not mount here: {tried.stderr.strip()}" if tried.status else ""


@functools.cache
def userns_is_missing() -> str:
    """Why a user without rights cannot have a user namespace with an overlay in it, or ""."""
    caller = Caller("lone", _LONE_ID, _LONE_ID, "/") if os.geteuid() == 0 else None
    script = "mount -t tmpfs none /tmp && cd /tmp && mkdir l u w m && mount -t overlay -o "
    script += "lowerdir=l,upperdir=u,workdir=w,userxattr none m"
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script]
    tried = run(argv, caller=caller)
    return f"no unprivileged overlay here: {tried.stderr.strip()}" if tried.status else ""


@functools.cache
def plain_container_is_missing() -> str:
    """Why nobody can play root in a plain container here, or ""."""
    if os.geteuid() != 0:
        return "not root"
    tried = run([*PLAIN_CONTAINER, "true"])
    return f"no plain container here: {tried.stderr.strip()}" if tried.status else ""


@pytest.fixture(scope="session")
def public_root() -> Iterator[Path]:
    """A directory that every user can reach (pytest's own are for its user alone)."""
    path = Path(tempfile.mkdtemp(prefix="pybuild-test-"))
    path.chmod(0o755)
    yield path
    remove(path)


@pytest.fixture
def public(public_root: Path) -> Iterator[Path]:
    """A fresh directory that every user can reach, gone after the test."""
    path = Path(tempfile.mkdtemp(dir=public_root))
    path.chmod(0o755)
    yield path
    remove(path)


def remove(path: Path) -> None:
    """Delete a tree, also what subordinate ids own in it."""
    argv = ["rm", "-rf", str(path)]  # shutil.rmtree is recursive, and some trees are very deep
    if os.geteuid() != 0:
        argv = ["unshare", "--user", "--map-root-user", "--map-auto", *argv]
    subprocess.run(argv, check=False)


@pytest.fixture(scope="session")
def user() -> Caller:
    """A user without rights: the caller, or for root an account that is made on first use."""
    if os.geteuid() != 0:
        import pwd

        entry = pwd.getpwuid(os.geteuid())
        return Caller(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)
    return _account()


def _account() -> Caller:
    import pwd

    try:
        entry = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        made = run(["useradd", "--create-home", "--shell", "/bin/sh", _ACCOUNT])
        if made.status:
            pytest.skip(f"no account for a user without rights: {made.stderr.strip()}")
        entry = pwd.getpwnam(_ACCOUNT)
    return Caller(_ACCOUNT, entry.pw_uid, entry.pw_gid, entry.pw_dir)


@pytest.fixture(scope="session")
def lone_user() -> Caller:
    """A user with one id and no account: no subordinate ids, so no newuidmap."""
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without an account")
    return Caller("lone", _LONE_ID, _LONE_ID, "/")


@pytest.fixture(params=["root", "user", "lone_user"])
def caller(request: pytest.FixtureRequest) -> Caller:
    """Whoever may run a container: the test runs once as each."""
    if request.param == "root":
        if reason := root_is_missing():
            pytest.skip(reason)
        return Caller("root", 0, 0, "/root")
    if reason := userns_is_missing():
        pytest.skip(reason)
    who: Caller = request.getfixturevalue(request.param)
    argv = [*_python(), "-c", "import runtime.cli"]
    if (tried := run(argv, caller=who, env=environment(who))).status:
        pytest.skip(f"{who.name} cannot execute this Python: {tried.stderr.strip()[-200:]}")
    return who


def _python() -> list[str]:
    import sys

    return [sys.executable]


@pytest.fixture
def store(public: Path, request: pytest.FixtureRequest) -> Path:
    """A place for a store that belongs to the test's caller."""
    path = public / "store"
    path.mkdir()
    if "caller" in request.fixturenames:
        who: Caller = request.getfixturevalue("caller")
        if who.uid != os.geteuid():
            os.chown(path, who.uid, who.gid)
    return path


@pytest.fixture(scope="session")
def busybox(public_root: Path) -> Path:
    """An image.tar with busybox under all its names; its command is `sh`."""
    if not BUSYBOX.exists():
        pytest.skip("/bin/busybox is not installed (busybox-static)")
    config = {"Cmd": ["sh"], "Env": ["PATH=/bin", "GREETING=hello"]}
    return make_image(public_root / "busybox.tar", [busybox_layer()], config)
