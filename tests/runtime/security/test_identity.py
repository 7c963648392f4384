"""Class C: who a process is, and what the image's own files have to do with it.

`pyrun IMAGE -u` has its tests in tests/runtime/test_users.py; here are `exec -u` and bundles.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runtime.security.support import Oci, configuration
from tests.support import (
    GROUP,
    PASSWD,
    Caller,
    Result,
    busybox_layer,
    environment,
    make_image,
    run,
    run_pyrun,
    symlink,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.runtime.security.conftest import Build
    from tests.support import TreeValue

    Exec = Callable[..., Result]

pytestmark = pytest.mark.needs_root
ACCOUNTS: dict[str, TreeValue] = {"etc/passwd": PASSWD, "etc/group": GROUP}
IDS = "echo $(stat -c %u:%g /proc/self) $(id -G)"


@pytest.fixture
def inside(oci: Oci) -> Iterator[Exec]:
    """`exec` with options, of a script, in a container whose own user is 42:43."""
    user = {"uid": 42, "gid": 43, "additionalGids": [44]}
    bundle = oci.bundle(configuration("sleep", "100", user=user), ACCOUNTS)
    with oci.running(bundle) as identity:
        yield lambda script, *options, **choices: oci(
            "exec", *options, identity, "sh", "-c", script, **choices
        )


@pytest.mark.parametrize(
    ("who", "printed"),
    [
        (None, "42:43 43 44"),
        ("", "42:43 43 44"),  # a script's variable that is not set
        ("0", "0:0 0 10"),
        ("1", "1:0 0"),
        ("1000", "1000:1000 1000 10 50"),  # not the user of that name, whose id is 0
        ("1000:0", "1000:0 0"),
        ("00", "0:0 0 10"),
        (":1", "0:1 1"),
        ("alice", "1000:1000 1000 10 50"),
        ("2147483648:2147483648", "2147483648:2147483648 2147483648"),
        ("4294967294", "4294967294:0 0"),
    ],
)
def test_cve_2026_30892_exec_as_a_user_is_that_user(
    who: str | None, printed: str, inside: Exec
) -> None:
    options = () if who is None else ("-u", who)
    # /proc/self of `stat` has its owner only if it may be dumped, which it may.
    script = "set -- $(grep -E '^[UG]id:' /proc/self/status); echo $2:$7 $(id -G)"
    assert inside(script, *options) == Result(0, f"{printed}\n", "")


@pytest.mark.parametrize(
    "who",
    [
        *("-1", "1:", ":", "0:", "4294967295", "4294967296", "4294967296:0", "0:4294967296"),
        *("18446744073709551616:0", "9" * 5000 + ":0", "0:" + "9" * 5000, "9" * 5000),
        *("bob", "+1", " 1", "1 ", "0x0", "root\n", "root\nx", "root:root:0", "root:x:0:0"),
        *("\u0661", "1\u00b2", "al\0ice"[:2] + ":", "alice\n:staff"),
    ],
)
def test_cve_2024_40635_a_user_that_is_not_one_is_refused_by_exec(who: str, inside: Exec) -> None:
    result = inside("echo ran", "-u", who)
    assert (result.status, result.stdout) == (125, "")
    assert "user" in result.stderr or "group" in result.stderr
    assert "internal error" not in result.stderr


def _sparse(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.touch()
    os.truncate(path, 1 << 30)


def _endless(path: Path) -> None:
    """A file that says that it is empty, and holds 256 GB."""
    path.symlink_to("/proc/self/pagemap")


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a link to /dev/tty": lambda path: path.symlink_to("/dev/tty"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link outside": lambda path: path.symlink_to("../../../../../../../etc/" + path.name),
    "a directory": lambda path: path.mkdir(),
    "1 GB": _sparse,
    "what does not end": _endless,
}


@pytest.mark.parametrize("make", ODD_FILES.values(), ids=ODD_FILES)
@pytest.mark.parametrize("name", ["passwd", "group"])
def test_cve_2024_9676_a_file_of_accounts_that_is_none_stops_nothing_but_the_look_up(
    name: str, make: Callable[[Path], object], oci: Oci
) -> None:
    bundle = oci.bundle(configuration("sleep", "100", user={"uid": 0, "gid": 0}), ACCOUNTS)
    with oci.running(bundle) as identity:
        (bundle / "rootfs/etc" / name).unlink()
        make(bundle / "rootfs/etc" / name)
        who = "alice" if name == "passwd" else "0:staff"
        named = oci("exec", "-u", who, identity, "echo", "ran", timeout_s=10)
        assert (named.status, named.stdout) == (125, "")
        assert name in named.stderr
        numbers = oci("exec", "-u", "5:5", "-e", "HOME=/", identity, "true", timeout_s=10)
        assert numbers.status == 0


def test_cve_2024_9676_a_passwd_file_of_an_image_that_does_not_end_is_not_read(
    public: Path, store: Path, caller: Caller
) -> None:
    layer = [member for member in busybox_layer() if b"etc/passwd" not in member[:100]]
    layer.append(symlink("etc/passwd", "/proc/self/pagemap"))
    image = make_image(public / "i.tar", [layer], {"Env": ["PATH=/bin"]})
    result = run_pyrun("-u", "alice", image, "id", store=store, caller=caller, timeout_s=20)
    assert (result.status, result.stdout) == (125, "")
    assert "/etc/passwd" in result.stderr


@pytest.mark.parametrize("groups", [[], [7], [0, 10, 4294967294]])
def test_cve_2022_36109_the_supplementary_groups_are_those_of_the_configuration(
    groups: list[int], oci: Oci
) -> None:
    user = {"uid": 1, "gid": 5, "additionalGids": groups}
    script = "grep Groups /proc/self/status"
    bundle = oci.bundle(configuration("sh", "-c", script, user=user))
    # The caller's own are not kept.
    result = oci.run(bundle, extra_groups=[3, 4])
    assert result.stdout.split()[1:] == [str(group) for group in sorted(groups)]
    oci.configure(bundle, configuration("sleep", "100", user=user))
    with oci.running(bundle) as identity:
        result = oci("exec", identity, "sh", "-c", script, extra_groups=[3, 4])
        assert result.stdout.split()[1:] == [str(group) for group in sorted(groups)]
        result = oci("exec", "-u", "9:9", identity, "sh", "-c", script, extra_groups=[3, 4])
        assert result.stdout.split()[1:] == []


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("privileges", [True, False])
def test_cve_2022_29162_no_capability_is_inheritable_or_ambient_in_run_and_exec(
    privileges: bool, uid: int, oci: Oci
) -> None:
    script = "grep Cap /proc/self/status"
    user = {"uid": uid, "gid": uid}
    config = configuration("sh", "-c", script, user=user, noNewPrivileges=not privileges)
    bundle = oci.bundle(config)
    shown = [oci.run(bundle).stdout]
    config["process"]["args"] = ["sleep", "100"]
    oci.configure(bundle, config)
    with oci.running(bundle) as identity:
        for options in ([], ["--cap", "CAP_NET_RAW"], ["-u", "5:5"], ["-u", "0:0", "-c", "KILL"]):
            shown.append(oci("exec", *options, identity, "sh", "-c", script).stdout)
    for text in shown:
        sets = dict(line.split() for line in text.splitlines())
        assert int(sets["CapInh:"], 16) == int(sets["CapAmb:"], 16) == 0
        assert int(sets["CapBnd:"], 16) != 0
    assert all(int(t.split()[3], 16) == 0 for t in shown[:2]) == (uid != 0)


def test_cve_2020_14370_the_environment_is_made_from_scratch(inside: Exec, oci: Oci) -> None:
    env = environment(SECRET="x", LD_PRELOAD="", PYTHONSTARTUP="/evil", LANG="C.UTF-8")
    result = inside("env", "-e", "A=1", env=env)
    names = {line.partition("=")[0] for line in result.stdout.splitlines()}
    assert names == {"PATH", "A", "HOME", "PWD", "SHLVL"}
    result = oci.run(oci.bundle(configuration("env")), env=env)
    assert {line.partition("=")[0] for line in result.stdout.splitlines()} == {"PATH", "HOME"}


# --- what could be loaded from the image (CVE-2019-14271) ------------------------------------

EVIL = "import os\nos.close(os.open('/found', os.O_CREAT))\n"
VERSION = f"python3.{sys.version_info.minor}"
MODULES = (
    "sitecustomize usercustomize traceback warnings linecache shutil json socket struct pwd "
    "encodings/__init__ encodings/idna encodings/ascii stringprep resource _ctypes ctypes/__init__"
).split()
PLACES = (f"usr/lib/{VERSION}", "usr/lib/python3/dist-packages", f"usr/local/lib/{VERSION}", "")
LIBRARIES = (
    *(f"lib/x86_64-linux-gnu/{name}" for name in ("libnss_files.so.2", "libnss_compat.so.2")),
    *("lib/libnss_files.so.2", "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", "evil.so"),
)


@pytest.fixture
def hostile(build: Build) -> dict[str, TreeValue]:
    """Files that leave /found if anything of ours loads them."""
    library = build("evil", "-shared", "-fPIC", "-nostdlib").read_bytes()
    tree: dict[str, TreeValue] = dict(ACCOUNTS)
    tree |= {f"{place}/{name}.py".lstrip("/"): EVIL for place in PLACES for name in MODULES}
    tree |= {name: (library, 0o755) for name in LIBRARIES}
    tree |= {
        "etc/nsswitch.conf": "passwd: files evil\ngroup: files evil\n",
        "etc/ld.so.preload": "/evil.so\n",
        "usr/lib/x86_64-linux-gnu/gconv/gconv-modules": "module A// INTERNAL UTF-16 1\n",
    }
    return tree


@pytest.mark.parametrize(
    "load", ["import stringprep", "import ctypes; ctypes.CDLL('libnss_compat.so.2')"]
)
def test_what_is_loaded_after_the_root_changed_is_the_images(
    load: str, oci: Oci, hostile: dict[str, TreeValue]
) -> None:
    rootfs = oci.bundle(configuration("true"), hostile) / "rootfs"
    code = f"import os, sys; os.chroot(sys.argv[1]); os.chdir('/'); {load}"
    if "ctypes" in load:
        code = code.replace("import os, sys;", "import os, sys, ctypes;")
    run([sys.executable, "-c", code, rootfs], env={})
    assert (rootfs / "found").exists()


def test_cve_2019_14271_nothing_of_the_image_is_loaded_by_the_runtime(
    public: Path, oci: Oci, hostile: dict[str, TreeValue]
) -> None:
    bundle = oci.bundle(configuration("sleep", "100"), hostile)
    array = public / "mounts.json"
    with oci.running(bundle) as identity:
        for argv in (["true"], ["/missing"], ["/etc"], ["/etc/passwd"], ["sh", "-c", "exit 3"]):
            for options in ([], ["-u", "alice"], ["-u", "nobody\u00e9"], ["--cwd", "/etc/passwd"]):
                oci("exec", *options, identity, *argv)
        oci("exec", "-t", identity, "true")
        for place in ("/new/place", "/etc/passwd/x", "/proc/x", "\u00e9"):
            array.write_text(
                f'[{{"destination": "{place}", "type": "bind", "source": "{public}",'
                ' "options": ["bind"]}]'
            )
            for verb in ("add", "remove"):
                oci("mounts", verb, identity, array)
        for verb in ("ps", "state", "pause", "resume", "kill"):
            oci(verb, identity)
        oci("events", "--stats", identity)
    for argv in (["/missing"], ["/etc"], ["true"]):
        for changes in ({}, {"cwd": "/etc/passwd"}, {"terminal": True}):
            oci.configure(bundle, configuration(*argv, **changes))
            oci.run(bundle)
    assert not (bundle / "rootfs/found").exists()


def test_cve_2022_1227_no_verb_executes_a_program_of_the_container(public: Path, oci: Oci) -> None:
    evil = (b"#!/bin/busybox sh\necho x > /found\n", 0o755)
    names = "ps top cat sh nsenter mount umount id getent newuidmap tar true kill".split()
    bundle = oci.bundle(configuration("/bin/busybox", "sleep", "100"))
    for folder in ("bin", "usr/bin", "sbin", "usr/sbin"):
        for name in names:
            path = bundle / "rootfs" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(evil[0])
            path.chmod(evil[1])
    array = public / "mounts.json"
    array.write_text(f'[{{"destination": "/m", "type": "bind", "source": "{public}",'
                     ' "options": ["bind"]}]')  # fmt: skip
    with oci.running(bundle) as identity:
        for words in (["ps"], ["events", "--stats"], ["state"], ["pause"], ["resume"]):
            assert oci(*words, identity).status == 0, words
        assert oci("update", "--pids-limit", "50", identity).status == 0
        for verb in ("add", "remove"):
            assert oci("mounts", verb, identity, array).status == 0
        assert oci("kill", identity, "KILL").status == 0
        time.sleep(0.2)
    assert not (bundle / "rootfs/found").exists()
    subprocess.run(["chroot", bundle / "rootfs", "/bin/ps"], check=True)
    assert (bundle / "rootfs/found").exists()
