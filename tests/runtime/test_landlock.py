"""Landlock rules: what they say, and what the kernel then lets a real process do."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from runtime.errors import ContainerError, UsageError
from runtime.sandbox import landlock, syscalls
from runtime.stub.enter import Failure
from tests.runtime.stub.support import SHELL, become_nobody, in_child, run_by_stub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

needs_paths = pytest.mark.skipif(
    landlock.abi_version() < 3, reason=f"Landlock's ABI is {landlock.abi_version()}, not 3"
)
needs_tcp = pytest.mark.skipif(
    landlock.abi_version() < 4, reason=f"Landlock's ABI is {landlock.abi_version()}, not 4"
)
needs_scopes = pytest.mark.skipif(
    landlock.abi_version() < 6, reason=f"Landlock's ABI is {landlock.abi_version()}, not 6"
)


def _prepare(rules: str, root: Path = Path("/")) -> int:
    root_fd = os.open(root, os.O_PATH)
    try:
        return landlock.prepare(landlock.parse_rules([rules]), root_fd)
    finally:
        os.close(root_fd)


def _restrict(rules: str, root: Path = Path("/")) -> None:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict(_prepare(rules, root))


def _outcome(action: Callable[[], object]) -> str:
    """ "done", or the name of the error that the kernel gave."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _try(rules: str, *actions: Callable[[], object], root: Path = Path("/")) -> list[str]:
    """What each action comes to in a process that is restricted by `rules`."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _restrict(rules, root)
            os.write(write, " ".join(_outcome(action) for action in actions).encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as results:
        outcomes = results.read().split()
    os.waitpid(pid, 0)
    return outcomes


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two directories with a file each."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return tmp_path


def _open_for(flags: int, *paths: Path) -> list[Callable[[], object]]:
    return [lambda path=path: os.close(os.open(path, flags, 0o600)) for path in paths]  # type: ignore[misc]


# --- the text ------------------------------------------------------------------------------


def test_rules_are_separated_by_commas_and_newlines() -> None:
    rules = landlock.parse_rules(["ro:/usr, connect:443\n\n  scope:signal\n", "rw:/a b:c"]).rules
    assert [rule.text for rule in rules] == ["ro:/usr", "connect:443", "scope:signal", "rw:/a b:c"]
    assert [(rule.kind, rule.path, rule.port) for rule in rules] == [
        ("path", "/usr", None),
        ("tcp", "", 443),
        ("scope", "", None),
        ("path", "/a b:c", None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rule in ''"),
        (" ,\n", "no rule in ' ,\\\\n'"),
        ("/usr", "rule /usr: unknown"),
        ("ro", "rule ro: unknown"),
        ("RO:/usr", "rule RO:/usr: unknown"),
        ("wx:/usr", "rule wx:/usr: unknown"),
        ("ro:", "rule ro:: '' is not an absolute path"),
        ("ro:usr", "rule ro:usr: 'usr' is not an absolute path"),
        ("ro:/usr,lib", "rule lib: unknown"),
        ("connect:", "'' is not a port, 1 to 65535"),
        ("connect:0", "'0' is not a port, 1 to 65535"),
        ("connect:65536", "'65536' is not a port"),
        ("bind:-1", "'-1' is not a port, 0 to 65535"),
        ("bind:http", "'http' is not a port"),
        ("bind:٣", "'٣' is not a port"),
        ("bind:80-90", "'80-90' is not a port"),
        ("tcp:all", "rule tcp:all: unknown"),
        ("scope:", "unknown scope ''"),
        ("scope:unix", "unknown scope 'unix', not one of abstract-unix, signal"),
    ],
)
def test_a_text_that_is_no_rule_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        landlock.parse_rules([text])


@pytest.mark.parametrize(
    ("rule", "abi", "message"),
    [
        ("ro:/", 0, "rule ro:/: this kernel has no Landlock"),
        ("ro:/", 2, r"rule ro:/: needs Landlock's ABI 3 \(Linux 6.2\), this kernel has 2"),
        ("tcp:none", 3, "rule tcp:none: needs Landlock's ABI 4"),
        ("bind:80", 3, "rule bind:80: needs Landlock's ABI 4"),
        ("scope:signal", 5, "rule scope:signal: needs Landlock's ABI 6"),
    ],
)
def test_a_kernel_that_is_too_old_for_a_rule_is_an_error(
    rule: str, abi: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: abi)
    with pytest.raises(ContainerError, match=message):
        _prepare(rule)


@needs_paths
@pytest.mark.parametrize("abi", [3, 4])
def test_a_kernel_is_not_asked_for_what_its_version_has_not(
    abi: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(landlock, "abi_version", lambda: abi)
    create = syscalls.landlock_create_ruleset

    def create_and_note(attributes: bytes | None, size: int, flags: int) -> int:
        asked.append(int.from_bytes((attributes or b"")[:8], "little"))
        return create(attributes, size, flags)

    monkeypatch.setattr(landlock, "landlock_create_ruleset", create_and_note)
    os.close(_prepare("rwx:/"))
    assert asked == [0x7FFF]  # all but IOCTL_DEV


# --- paths ---------------------------------------------------------------------------------


@needs_paths
def test_ro_allows_reading_below_and_nothing_else(tree: Path) -> None:
    inside, outside = tree / "in/file", tree / "out/file"
    outcomes = _try(
        f"ro:{tree}/in",
        *_open_for(os.O_RDONLY, inside, tree / "in", outside, tree / "out", tree),
        *_open_for(os.O_WRONLY, inside),
        *_open_for(os.O_WRONLY | os.O_CREAT, tree / "in/new"),
        lambda: os.truncate(inside, 0),
        lambda: os.unlink(inside),
        lambda: os.mkdir(tree / "in/new"),
        lambda: os.execv(inside, ["x"]),
        lambda: os.stat(outside),
    )
    assert outcomes == ["done"] * 2 + ["EACCES"] * 9 + ["done"]
    assert inside.read_text() == "in"


@needs_paths
def test_rw_allows_everything_below_but_to_execute(tree: Path) -> None:
    inside, moved = tree / "in/file", tree / "in/folder/moved"
    outcomes = _try(
        f"rw:{tree}/in",
        *_open_for(os.O_RDWR | os.O_TRUNC, inside),
        *_open_for(os.O_WRONLY | os.O_CREAT, tree / "in/new"),
        lambda: os.mkdir(tree / "in/folder"),
        lambda: os.rename(inside, moved),
        lambda: os.symlink("x", tree / "in/link"),
        lambda: os.mkfifo(tree / "in/fifo"),
        lambda: os.unlink(tree / "in/new"),
        lambda: os.chmod(moved, 0o755),
        lambda: os.execv(moved, ["x"]),
        lambda: os.rename(moved, tree / "out/moved"),
        *_open_for(os.O_RDONLY, tree / "out/file"),
    )
    assert outcomes == ["done"] * 8 + ["EACCES"] * 3


@needs_paths
def test_the_rules_of_a_path_and_of_those_above_it_add_up(tree: Path) -> None:
    outcomes = _try(
        f"ro:{tree},rw:{tree}/in/file",
        *_open_for(os.O_RDWR, tree / "in/file"),
        *_open_for(os.O_RDONLY, tree / "out/file"),
        *_open_for(os.O_RDWR, tree / "out/file"),
    )
    assert outcomes == ["done", "done", "EACCES"]


@needs_paths
@pytest.mark.needs_program("busybox")
@pytest.mark.parametrize(
    ("kind", "status", "failure"),
    [
        ("rx", 0, None),
        ("rwx", 0, None),
        ("ro", 126, Failure(phase="exec", errno=errno.EACCES)),
        ("rw", 126, Failure(phase="exec", errno=errno.EACCES)),
    ],
)
@pytest.mark.parametrize("init", [False, True], ids=["alone", "init"])
def test_the_stub_runs_and_the_program_if_a_rule_lets_it_be_executed(
    kind: str, status: int, failure: Failure | None, init: bool, tree: Path
) -> None:
    program = tree / "in/program"
    program.write_bytes(Path(SHELL).read_bytes())
    program.chmod(0o755)
    rules = f"{kind}:{tree}/in"
    ended = run_by_stub(program, "true", before=lambda: _restrict(rules), init=init)
    assert (ended.status, ended.failure) == (status, failure)


@needs_paths
@pytest.mark.needs_program("busybox")
def test_a_program_cannot_execute_what_no_rule_lets_it(tree: Path) -> None:
    for name in ("in", "out"):
        (tree / name / "busybox").write_bytes(Path(SHELL).read_bytes())
        (tree / name / "busybox").chmod(0o755)
    script = f"{tree}/in/busybox true; echo $?; {tree}/out/busybox true; echo $?"
    ended = run_by_stub(
        tree / "in/busybox", "sh", "-c", script, before=lambda: _restrict(f"rx:{tree}/in")
    )
    assert ended.output.split("\n")[0] == "0"
    assert ended.output.endswith("Permission denied\n126\n")


@needs_paths
def test_a_path_that_is_not_there_names_its_rule(tree: Path) -> None:
    with pytest.raises(ContainerError, match="rule rw:/in/nowhere: No such file or directory"):
        _prepare("ro:/in,rw:/in/nowhere", tree)


@needs_paths
def test_a_path_is_that_of_the_root_whatever_its_links_say(tree: Path) -> None:
    secret = tree / "out"
    root = tree / "in"
    (root / "absolute").symlink_to(secret)
    (root / "relative").symlink_to("../out")
    for name in ("absolute", "relative", "../out", "../../../../../etc/passwd"):
        with pytest.raises(ContainerError, match="No such file"):
            _prepare(f"ro:/{name}", root)
    # With something of that name in the root, the rule is for that.
    (root / "out").mkdir()
    (root / "out/file").write_text("mine")
    read = _open_for(os.O_RDONLY, root / "out/file", secret / "file")
    assert _try("ro:/relative", *read, root=root) == ["done", "EACCES"]
    assert _try("ro:/../out", *read, root=root) == ["done", "EACCES"]


@needs_paths
def test_a_magic_link_is_no_way_out_of_the_root(tree: Path) -> None:
    with pytest.raises(ContainerError, match="rule rw:/proc/self/cwd: "):
        _prepare("rw:/proc/self/cwd")


@needs_paths
def test_a_path_swapped_after_the_start_widens_nothing(tree: Path) -> None:
    ruleset = _prepare("ro:/in", tree)
    (tree / "in").rename(tree / "was-in")
    (tree / "in").symlink_to("out")

    def look() -> int:
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict(ruleset)
        opens = _open_for(os.O_RDONLY, tree / "was-in/file", tree / "in/file")
        return [_outcome(one) for one in opens] == ["done", "EACCES"]

    assert in_child(look) == 1
    os.close(ruleset)


@needs_paths
def test_a_device_below_rw_takes_ioctls_and_below_ro_it_does_not() -> None:
    if landlock.abi_version() < 5:
        pytest.skip("ioctl(2) on devices can be refused since Landlock's ABI 5")
    assert _try("rw:/dev", lambda: os.close(os.openpty()[0])) == ["done"]
    assert _try("ro:/dev", *_open_for(os.O_RDWR, Path("/dev/ptmx"))) == ["EACCES"]
    import fcntl
    import termios

    def ask() -> None:
        fd = os.open("/dev/ptmx", os.O_RDONLY | os.O_NOCTTY)
        fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8))

    assert _try("rw:/dev", ask) == ["done"]
    assert _try("ro:/dev", ask) == ["EACCES"]


# --- TCP -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _connect(port: int) -> Callable[[], object]:
    return lambda: _with_socket(lambda new: new.connect(("127.0.0.1", port)))


def _bind(port: int) -> Callable[[], object]:
    return lambda: _with_socket(lambda new: new.bind(("127.0.0.1", port)))


def _with_socket(action: Callable[[socket.socket], object]) -> None:
    with socket.socket() as new:  # not a function that looks names up: those read files
        action(new)


@needs_tcp
def test_connect_opens_one_port_to_connect_to(server: int, free_port: int) -> None:
    rules = f"connect:{server}"
    outcomes = _try(rules, _connect(server), _connect(free_port), _bind(free_port))
    assert outcomes == ["done", "EACCES", "EACCES"]


@needs_tcp
def test_bind_opens_one_port_to_listen_on(server: int, free_port: int) -> None:
    rules = f"bind:{free_port}"
    outcomes = _try(rules, _bind(free_port), _bind(0), _connect(server))
    assert outcomes == ["done", "EACCES", "EACCES"]


@needs_tcp
def test_tcp_none_closes_all_ports(server: int) -> None:
    assert _try("tcp:none", _connect(server), _bind(0)) == ["EACCES", "EACCES"]
    assert _try("tcp:none,bind:0", _connect(server), _bind(0)) == ["EACCES", "done"]


@needs_tcp
def test_a_rule_for_tcp_leaves_files_alone_and_the_other_way_round(server: int) -> None:
    passwd = _open_for(os.O_RDONLY, Path("/etc/passwd"))
    assert _try("tcp:none", *passwd, _connect(server)) == ["done", "EACCES"]
    assert _try("ro:/dev", *passwd, _connect(server)) == ["EACCES", "done"]


# --- scopes --------------------------------------------------------------------------------


def _signal_own_child() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@needs_scopes
def test_a_signal_stays_among_those_who_are_restricted_alike() -> None:
    parent = os.getpid()
    actions = (lambda: os.kill(parent, 0), _signal_own_child)
    assert _try("scope:abstract-unix", *actions) == ["done", "done"]
    assert _try("scope:signal", *actions) == ["EPERM", "done"]


@needs_scopes
def test_an_abstract_unix_socket_of_the_host_is_out_of_reach() -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("")  # an abstract name that the kernel chooses
        listening.listen()
        name = listening.getsockname()

        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)

        assert _try("scope:signal", connect) == ["done"]
        assert _try("scope:abstract-unix", connect) == ["EPERM"]
        assert _try("scope:signal,scope:abstract-unix", connect) == ["EPERM"]


# --- the ruleset ---------------------------------------------------------------------------


@needs_paths
def test_a_ruleset_ends_with_an_exec() -> None:
    ruleset = _prepare("ro:/")
    assert not os.get_inheritable(ruleset)
    os.close(ruleset)


@needs_paths
@pytest.mark.needs_root
@pytest.mark.parametrize(("no_new_privs", "outcome"), [(False, "EPERM"), (True, "done")])
def test_a_user_needs_no_new_privs(no_new_privs: bool, outcome: str) -> None:
    def restrict() -> int:
        become_nobody()
        if no_new_privs:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        return _outcome(lambda: landlock.restrict(_prepare("ro:/"))) == outcome

    assert in_child(restrict) == 1


def test_it_is_an_extra_that_the_sandbox_does_not_load() -> None:
    import subprocess

    code = (
        "import sys, runtime.sandbox.container; print('runtime.sandbox.landlock' in sys.modules)"
    )
    argv = [sys.executable, "-c", code]
    assert subprocess.run(argv, capture_output=True, text=True).stdout == "False\n"
