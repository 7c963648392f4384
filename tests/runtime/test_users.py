"""Who the container's process is: -u and USER, looked up in the image's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import (
    Caller,
    Result,
    busybox_layer,
    directory,
    fifo,
    file,
    header,
    make_image,
    run_pyrun,
    symlink,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Shell = Callable[..., Result]

# One id has no others to become; that mode is at the end.
with_ids = pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
IDS = "echo $(id -u):$(id -g) $(id -G) $HOME"


# -u | uid:gid, groups, HOME; `support.PASSWD` and `support.GROUP` are the image's files
@with_ids
@pytest.mark.parametrize(
    ("who", "printed"),
    [
        ("0", "0:0 0 10 /root"),
        ("root", "0:0 0 10 /root"),
        ("alice", "1000:1000 1000 10 50 /home/alice"),
        ("1000", "1000:1000 1000 10 50 /home/alice"),  # not the user who is *called* 1000
        ("alice:staff", "1000:50 50 /home/alice"),
        ("alice:7", "1000:7 7 /home/alice"),
        (":7", "0:7 7 /root"),
        ("4242", "4242:0 0 /"),
        ("4242:4243", "4242:4243 4243 /"),
        ("00", "0:0 0 10 /root"),
    ],
)
def test_a_user_has_the_ids_groups_and_home_of_the_image(
    who: str, printed: str, shell: Shell
) -> None:
    assert shell(IDS, "-u", who) == Result(0, f"{printed}\n", "")


@pytest.mark.parametrize("caller", ["root"], indirect=True)
@pytest.mark.parametrize(
    ("who", "message"),
    [
        ("1:", "user '1:': no group after the colon"),
        (":", "user ':': no group after the colon"),
        ("bob", "user 'bob': not in the image's /etc/passwd"),
        ("-1", "user '-1': not in the image's /etc/passwd"),
        ("+1", "user '+1': not in the image's /etc/passwd"),
        ("0x0", "user '0x0': not in the image's /etc/passwd"),
        ("1 ", "user '1 ': not in the image's /etc/passwd"),
        ("\u0661", "user '\u0661': not in the image's /etc/passwd"),
        ("root\nx", r"user 'root\nx': not in the image's /etc/passwd"),
        ("0:nogroup", "group 'nogroup': not in the image's /etc/group"),
        ("0:-1", "group '-1': not in the image's /etc/group"),
        ("0:0:0", "group '0:0': not in the image's /etc/group"),
        ("4294967295", "user '4294967295': ids end at 4294967294"),
        ("4294967296", "user '4294967296': ids end at 4294967294"),
        ("0:4294967296", "group '4294967296': ids end at 4294967294"),
        ("9" * 5000, "user '9"),
    ],
)
def test_a_user_that_is_not_one_is_refused(who: str, message: str, shell: Shell) -> None:
    result = shell("echo ran", "-u", who)
    assert (result.status, result.stdout) == (125, "")
    assert result.stderr.startswith(f"pyrun: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.needs_root
@pytest.mark.parametrize("caller", ["root"], indirect=True)
@pytest.mark.parametrize("uid", [1 << 31, (1 << 32) - 2])
def test_the_largest_ids_are_ids(uid: int, shell: Shell) -> None:
    ids = shell("grep -w Uid /proc/self/status", "-u", str(uid)).stdout.split()[1:]
    assert ids == [str(uid)] * 4


@pytest.mark.parametrize("caller", ["user"], indirect=True)
@pytest.mark.parametrize("uid", ["65537", str(1 << 31)])
def test_an_id_that_the_user_namespace_does_not_have_is_refused(uid: str, shell: Shell) -> None:
    result = shell("echo ran", "-u", uid)
    assert (result.status, result.stdout) == (125, "")
    assert uid in result.stderr


def _passwd(public: Path, *members: bytes) -> Path:
    layer = [m for m in busybox_layer() if b"etc/passwd" not in m[:100]]
    return make_image(public / "i.tar", [[*layer, *members]], {"Env": ["PATH=/bin"]})


ODD_FILES = {
    "a FIFO": [fifo("etc/passwd")],
    "a directory": [directory("etc/passwd")],
    "a link to /dev/zero": [symlink("etc/passwd", "/dev/zero")],
    "a link to itself": [symlink("etc/passwd", "passwd")],
    "missing": [directory("x")],
    "a device": [header("etc/passwd", "3", device=(1, 5))],
}


@with_ids
@pytest.mark.parametrize("members", ODD_FILES.values(), ids=ODD_FILES)
def test_a_passwd_file_that_is_no_file_knows_nobody(
    members: list[bytes], public: Path, store: Path, caller: Caller
) -> None:
    image = _passwd(public, *members)
    choices = {"store": store, "caller": caller, "timeout_s": 10}
    named = run_pyrun("-u", "alice", image, "id", **choices)  # type: ignore[arg-type]
    assert (named.status, named.stdout) == (125, "")
    assert "/etc/passwd" in named.stderr


def test_a_passwd_file_of_eleven_megabytes_is_not_read(
    public: Path, store: Path, caller: Caller
) -> None:
    image = _passwd(public, file("etc/passwd", b"x" * (11 << 20)))
    result = run_pyrun("-u", "alice", image, "id", store=store, caller=caller)
    assert result.status == 125
    assert "/etc/passwd is 11534336 bytes, at most" in result.stderr


@pytest.mark.parametrize("caller", ["root"], indirect=True)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evil:x:4294967296:0::/:", "ids in /etc/passwd are out of range"),
        ("evil:x:4294967295:0::/:", "ids in /etc/passwd are out of range"),
        ("evil:x:-1:0::/:", "not in the image's /etc/passwd"),
        ("evil:x:\u00b2:0::/:", "not in the image's /etc/passwd"),
        ("evil:x::0::/:", "not in the image's /etc/passwd"),
        (f"evil:x:{'9' * 5000}:0::/:", "not in the image's /etc/passwd"),
        ("evil:x:0", "not in the image's /etc/passwd"),
        ("evil\0:x:0:0::/:", "not in the image's /etc/passwd"),
    ],
)
def test_a_malformed_line_of_passwd_makes_no_user(
    line: str, message: str, public: Path, store: Path, caller: Caller
) -> None:
    image = _passwd(public, file("etc/passwd", line + "\n"))
    result = run_pyrun("-u", "evil", image, "id", store=store, caller=caller)
    assert (result.status, result.stdout) == (125, "")
    assert message in result.stderr
    assert "internal error" not in result.stderr


@with_ids
def test_the_images_user_is_the_one_that_runs(public: Path, store: Path, caller: Caller) -> None:
    config = {"User": "alice", "Env": ["PATH=/bin", "HOME=/elsewhere"]}
    image = make_image(public / "i.tar", [busybox_layer()], config)
    result = run_pyrun(image, "sh", "-c", IDS, store=store, caller=caller)
    assert result.stdout == "1000:1000 1000 10 50 /elsewhere\n"


@with_ids
def test_a_user_cannot_write_what_is_roots(shell: Shell) -> None:
    assert "Permission denied" in shell("echo x > /etc/passwd", "-u", "alice").stderr
    assert shell("echo x > ~/x && cat ~/x", "-u", "alice").stdout == "x\n"


@with_ids
def test_a_set_uid_program_gives_no_rights(public: Path, store: Path, caller: Caller) -> None:
    busybox = Path("/bin/busybox").read_bytes()
    layer = [*busybox_layer(), file("bin/busybox-suid", busybox, mode=0o4755)]
    image = make_image(public / "i.tar", [layer])
    # The one program in busybox that keeps a set-uid bit's rights; it needs them for its socket.
    argv = ("-u", "1000", "--cap-add", "NET_RAW", image, "/bin/busybox-suid", "ping", "-c1")
    result = run_pyrun(*argv, "127.0.0.1", store=store, caller=caller)
    assert "permission denied" in result.stderr
    unsafe = ("--security-opt", "no-new-privileges=false")
    result = run_pyrun(*unsafe, *argv, "127.0.0.1", store=store, caller=caller)
    assert "1 packets received" in result.stdout


@pytest.mark.parametrize("caller", ["lone_user"], indirect=True)
def test_one_id_runs_as_root_and_owns_everything(shell: Shell) -> None:
    assert shell("id -u; stat -c %u:%g /home/alice").stdout == "0\n0:0\n"


@pytest.mark.parametrize("caller", ["lone_user"], indirect=True)
def test_one_id_can_become_nobody_else(shell: Shell) -> None:
    result = shell("echo ran", "-u", "alice")
    assert (result.status, result.stdout) == (125, "")
    assert "1000" in result.stderr
