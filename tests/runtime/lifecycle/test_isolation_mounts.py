"""What a container sees of files: mounts, devices, masked and read-only paths (config.md)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.runtime.lifecycle.conftest import subordinate_range
from tests.runtime.lifecycle.runtime_calls import Room, Runtime, as_root, as_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.runtime.lifecycle.runtime_calls import Config

    Bundle = Callable[..., Path]
    Edit = Callable[[Config], object]

# The wider matrix: test_namespaces, test_mounts and test_process are in the default tier.
pytestmark = pytest.mark.slow


def mount(
    destination: str, source: str | Path = "none", *options: str, kind: str = "bind", **more: Any
) -> Edit:
    """An edit that adds a mount."""
    entry = {"destination": destination, "source": str(source), "type": kind, **more}
    return lambda config: config["mounts"].append(entry | {"options": list(options)})


def linux(**members: Any) -> Edit:
    """An edit that sets members of `linux`."""
    return lambda config: config["linux"].update(members)


def writable(config: Config) -> None:
    """An edit: the root can be written to."""
    config["root"]["readonly"] = False


def without(*kinds: str) -> Edit:
    """An edit that leaves namespaces of some kinds shared."""

    def edit(config: Config) -> None:
        config["linux"]["namespaces"] = [
            n for n in config["linux"]["namespaces"] if n["type"] not in kinds
        ]

    return edit


def mountinfo(text: str) -> dict[str, list[str]]:
    """The fields of each line of a mountinfo, by mount point (proc_pid_mountinfo(5))."""
    return {line.split()[4]: line.split() for line in text.splitlines()}


def beside(room: Room, oci: Runtime, script: str) -> Runtime:
    """The runtime in a mount namespace of its own, where root ran a script before."""
    argv = ["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", *oci.argv]
    return Runtime(room, oci.root, argv)


# --- binds -----------------------------------------------------------------------------------


@as_root
@pytest.mark.parametrize(
    ("options", "top", "below"),
    [
        (("rbind", "ro"), "ro", "rw"),
        (("rbind", "rro"), "ro", "ro"),
        (("rbind", "rro", "rw"), "ro", "ro"),
        (("rbind",), "rw", "rw"),
        (("bind", "rro"), "ro", "none"),
        (("bind",), "rw", "none"),
    ],
)
def test_ro_is_for_one_mount_and_rro_for_all_below(
    options: tuple[str, ...], top: str, below: str, oci: Runtime, bundle: Bundle, room: Room
) -> None:
    place = room.directory("place", {"sub/": None})
    runtime = beside(room, oci, f"mount -t tmpfs sub {place}/sub; touch {place}/sub/there")
    script = (
        "try() { (: > $1/file) 2>/dev/null && echo rw || echo ro; }; try /m; "
        "if [ -e /m/sub/there ]; then try /m/sub; else echo none; fi"
    )
    out = runtime.output_of(bundle(script, mount("/m", place, *options)))
    assert out.split() == [top, below]
    assert os.path.exists(place / "file") == (top == "rw")


def test_files_and_directories_are_bound_where_nothing_was(
    oci: Runtime, bundle: Bundle, room: Room
) -> None:
    place = room.directory("place", {"file": "given", "folder/inside": "x"})
    path = bundle(
        "cat /new/file; echo; ls /other/folder; echo more > /new/file",
        writable,
        mount("/new/file", place / "file", "bind"),
        mount("/other/folder", place / "folder", "bind", "ro", kind="none"),
    )
    assert oci.output_of(path).split() == ["given", "inside"]
    assert (place / "file").read_text() == "more\n"


def test_attributes_of_a_bind_are_in_force(oci: Runtime, bundle: Bundle, room: Room) -> None:
    place = room.directory("place", {"script": (b"#!/bin/sh\necho ran\n", 0o755), "x": "target"})
    (place / "link").symlink_to("x")
    # Of a mount of the host's, a user namespace may not change how it keeps access times.
    noatime = ["noatime"] if oci.caller.is_root else []
    path = bundle(
        "/closed/script; cat /closed/link; /open/script; cat /open/link; cat /proc/self/mountinfo",
        mount("/closed", place, "bind", "nosuid", "nodev", "noexec", "nosymfollow", *noatime),
        mount("/open", place, "bind", "suid", "exec", "symfollow"),
    )
    result = oci.run(path)
    assert result.stderr == (
        "sh: /closed/script: Permission denied\n"
        "cat: can't open '/closed/link': Too many levels of symbolic links\n"
    )
    assert result.stdout.startswith("ran\ntarget")
    options = mountinfo(result.stdout.partition("target")[2])["/closed"][5].split(",")
    assert {"nosuid", "nodev", "noexec", "nosymfollow", *noatime} <= set(options)


@as_root
@pytest.mark.parametrize(
    ("word", "above", "below"),
    [
        ("private", "", "shared"),
        ("rprivate", "", ""),
        ("shared", "shared", "shared"),
        ("rslave", "master", "master"),
        ("unbindable", "unbindable", "shared"),
    ],
)
def test_a_propagation_word_changes_one_mount_or_with_r_all_below(
    word: str, above: str, below: str, oci: Runtime, bundle: Bundle, room: Room
) -> None:
    place = room.directory("place")
    script = f"mount -t tmpfs a {place}; mkdir {place}/sub; mount -t tmpfs b {place}/sub; "
    runtime = beside(room, oci, f"{script}mount --make-rshared {place}")
    path = bundle(["cat", "/proc/self/mountinfo"], mount("/m", place, "rbind", word))
    found = mountinfo(runtime.output_of(path))
    kinds = []
    for point in ("/m", "/m/sub"):
        fields = found[point]
        kinds.append(" ".join(f.partition(":")[0] for f in fields[6 : fields.index("-")]))
    assert kinds[0] == above
    if word.startswith("r") or word == "shared":
        assert kinds[1] == below


@as_root
def test_a_shared_bind_lets_mounts_of_the_container_out(
    oci: Runtime, bundle: Bundle, room: Room
) -> None:
    place = room.directory("place", {"sub/": None})
    script = f"mount -t tmpfs a {place}; mkdir {place}/sub; mount --make-shared {place}"
    argv = ["unshare", "--mount", "sh", "-ec", f'{script}; "$@"; cat {place}/sub/file', "sh"]
    runtime = Runtime(room, oci.root, [*argv, *oci.argv])

    def edit(config: Config) -> None:
        for names in config["process"]["capabilities"].values():
            names.append("CAP_SYS_ADMIN")

    inside = "mount -t tmpfs x /m/sub && echo out > /m/sub/file"
    assert (
        runtime.output_of(bundle(inside, edit, mount("/m", place, "rbind", "shared"))) == "out\n"
    )


@as_root
def test_an_id_mapped_bind_shows_other_owners(oci: Runtime, bundle: Bundle, room: Room) -> None:
    place = room.directory("place", {"file": "", "other": ""})
    os.chown(place / "other", 5, 6)
    maps = [{"containerID": 0, "hostID": 1000, "size": 10}]
    script = "stat -c %u:%g /m/file /m/other /plain/other; touch /m/new 2>/dev/null; id -u"
    path = bundle(
        script,
        mount("/m", place, "bind", uidMappings=maps, gidMappings=maps),
        mount("/plain", place, "bind"),
    )
    assert oci.output_of(path).split() == ["1000:1000", "1005:1006", "5:6", "0"]
    assert not (place / "new").exists()  # root has no id there


@as_root
def test_idmap_uses_the_maps_of_the_containers_user_namespace(
    oci: Runtime, bundle: Bundle, room: Room
) -> None:
    place = room.directory("place", {"file": ""})
    maps = [{"containerID": 0, "hostID": 200_000, "size": 1000}]
    path = bundle(
        "stat -c %u /m/file /plain/file; touch /m/new",
        lambda c: c["linux"]["namespaces"].append({"type": "user"}),
        linux(uidMappings=maps, gidMappings=maps, resources=None),
        mount("/m", place, "bind", "idmap"),
        mount("/plain", place, "bind"),
    )
    os.chown(path / "rootfs", 200_000, 200_000)
    assert oci.output_of(path).split() == ["0", "65534"]
    assert (place / "new").stat().st_uid == 0


# --- new filesystems ---------------------------------------------------------------------------


def test_a_tmpfs_has_the_size_and_mode_it_was_given(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "stat -c %a /m; df -k /m | tail -n 1; dd if=/dev/zero of=/m/big",
        mount("/m", "none", "size=128k", "mode=1750", "nosuid", kind="tmpfs"),
    )
    result = oci.run(path)
    assert result.status == 1
    lines = result.stdout.splitlines()
    assert (lines[0], lines[1].split()[1]) == ("1750", "128")
    assert "No space left on device" in result.stderr


def test_tmpcopyup_fills_a_tmpfs_with_what_it_covers(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "cd /data; stat -c '%a %u %h %N' one folder/two script link; echo new > one; sh script",
        mount("/data", "none", "tmpcopyup", "mode=0711", kind="tmpfs"),
    )
    data = path / "rootfs/data"
    (data / "folder").mkdir(parents=True)
    (data / "one").write_text("old")
    (data / "one").chmod(0o640)
    os.link(data / "one", data / "folder/two")
    (data / "script").write_text("stat -c '%a %u' /data; cat /data/folder/two")
    (data / "link").symlink_to("one")
    data.chmod(0o750)
    oci.room.give(data)
    (data / "script").chmod(0o4711)
    range_of = subordinate_range(oci.caller)
    other = 33 if oci.caller.is_root else 0
    if oci.caller.is_root:
        os.chown(data / "one", 33, 33)
    elif range_of is not None:
        other = 7  # the container's 7 is the 6th of the range: it has 1 first
        os.chown(data / "one", range_of[0] + 6, range_of[0] + 6)
    assert oci.output_of(path).splitlines() == [
        f"640 {other} 2 one",
        f"640 {other} 2 folder/two",
        "4711 0 1 script",
        "777 0 1 'link' -> 'one'",
        "750 0",
        "new",
    ]
    assert (data / "one").read_text() == "old"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (mount("/m", kind="nothingfs"), "mount /m: this kernel has no filesystem 'nothingfs'"),
        (mount("/m", "/nothing", "bind"), "mount /m: /nothing: No such file or directory"),
        (mount("/m", "none", "size=what", kind="tmpfs"), "mount /m: "),
        (mount("/m", "none", "nothing=1", kind="tmpfs"), "mount /m: "),
        (mount("/etc/passwd", kind="tmpfs"), "mount /etc/passwd: the image has no directory"),
        (mount("/etc/passwd", "/dev", "bind"), "mount /etc/passwd: "),
        (mount("/proc/sys", kind="tmpfs"), "mount /proc/sys: nothing may cover /proc"),
        (mount("/link", kind="tmpfs"), "mount /link: nothing may cover /proc"),
        (mount("/proc/version", "/dev/null", "bind"), "mount /proc/version: "),
    ],
    ids=lambda value: value.partition(": ")[0] if isinstance(value, str) else "",
)
def test_a_mount_that_cannot_be_made_is_named(
    edit: Edit, words: str, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("echo ran", writable, edit)
    (path / "rootfs/link").symlink_to("/proc/sys")
    assert oci.refused("run", "-b", path, oci.new_id()).startswith(f"pyrun: {words}")
    assert list(oci.root.iterdir()) == []


def test_a_file_of_proc_about_the_machine_can_be_bound_over(
    oci: Runtime, bundle: Bundle, room: Room
) -> None:
    place = room.directory("place", {"uptime": "1.00 2.00\n"})
    path = bundle(["cat", "/proc/uptime"], mount("/proc/uptime", place / "uptime", "bind"))
    assert oci.output_of(path) == "1.00 2.00\n"


def test_sysfs_can_be_had_with_the_callers_network(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "ls /sys/class/net; echo > /sys/x || grep ' /sys ' /proc/mounts", without("network")
    )
    text = (path / "config.json").read_text()
    (path / "config.json").write_text(
        text.replace('"source": "/sys", "type": "none"', '"source": "sysfs", "type": "sysfs"')
    )
    lines = oci.run(path).stdout.splitlines()
    assert lines[:-1] == sorted(os.listdir("/sys/class/net"))
    assert lines[-1].split()[1:3] == ["/sys", "sysfs"]
    assert "ro" in lines[-1].split()[3].split(",")


@as_root
@pytest.mark.parametrize("own", [True, False])
def test_the_containers_control_groups_are_what_it_sees(
    own: bool, oci: Runtime, bundle: Bundle
) -> None:
    script = (
        "cd /sys/fs/cgroup; for p in pids/cgroup.procs cgroup.procs; do "
        "[ -e $p ] && grep -x 1 $p && break; done; cat /proc/self/cgroup; mkdir new"
    )
    edits = () if own else (without("cgroup"),)
    result = oci.run(bundle(script, *edits))
    first, *groups = result.stdout.splitlines()
    assert first == "1"
    paths = {line.split(":", 2)[2] for line in groups if "pids" in line or line[:2] == "0:"}
    if own:
        assert "/" in paths, groups
    else:
        assert any(oci.room.mark in path for path in paths), groups
    assert "mkdir: can't create directory 'new': Read-only file system" in result.stderr


# --- the root, masks -----------------------------------------------------------------------------


@pytest.mark.parametrize("readonly", [True, False])
def test_the_root_is_read_only_if_the_configuration_says_so(
    readonly: bool, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("touch /file /tmp/file", lambda c: c["root"].update(readonly=readonly))
    result = oci.run(path)
    assert (result.status == 0) is not readonly
    assert ("Read-only file system" in result.stderr) is readonly
    assert (path / "rootfs/file").exists() is not readonly


def test_masked_and_read_only_paths(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "wc -c < /secret; ls -A /folder; echo > /folder/x; echo > /etc/x; echo y > /etc/passwd; "
        "echo > /tmp/x && echo written; echo > /proc/sys/kernel/shmmax",
        writable,
        lambda c: c["linux"]["maskedPaths"].extend(("/secret", "/folder", "/missing/x")),
        lambda c: c["linux"]["readonlyPaths"].extend(("/etc", "/missing")),
    )
    (path / "rootfs/secret").write_text("secret")
    (path / "rootfs/folder").mkdir()
    (path / "rootfs/folder/inside").touch()
    result = oci.run(path)
    assert result.stdout.split() == ["0", "written"]
    assert result.stderr.count("Read-only file system") == 4, result.stderr
    assert (path / "rootfs/secret").read_text() == "secret"


# --- devices -------------------------------------------------------------------------------------


def test_the_default_devices_and_links_are_there_and_work(oci: Runtime, bundle: Bundle) -> None:
    script = (
        "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T' $d; done; "
        "echo x > null; head -c 3 zero | wc -c; head -c 4 urandom | wc -c; for l in ptmx fd "
        "stdin stdout stderr; do readlink $l; done; ls -d pts shm mqueue; echo x > full"
    )
    result = oci.run(bundle(script))
    assert result.stdout.split() == [
        *("null", "1:3", "zero", "1:5", "full", "1:7", "random", "1:8", "urandom", "1:9"),
        *("tty", "5:0", "3", "4", "pts/ptmx", "/proc/self/fd", "/proc/self/fd/0"),
        *("/proc/self/fd/1", "/proc/self/fd/2", "mqueue", "pts", "shm"),
    ]
    assert "No space left on device" in result.stderr


@as_root
def test_devices_of_the_configuration_have_its_mode_and_owner(
    oci: Runtime, bundle: Bundle
) -> None:
    node = {"type": "c", "major": 1, "minor": 3}
    devices = [
        {"path": "/dev/deep/er/x", **node, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/null", **node, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
        {"path": "/dev/disk", "type": "b", "major": 7, "minor": 300},
    ]
    script = "stat -c '%a %u:%g %F %t:%T' /dev/deep/er/x /dev/null /dev/pipe /dev/disk"
    assert oci.output_of(bundle(script, linux(devices=devices))).splitlines() == [
        "640 5:6 character special file 1:3",
        "600 0:0 character special file 1:3",
        "622 0:0 fifo 0:0",
        "666 0:0 block special file 7:12c",
    ]


@as_user
def test_a_device_is_bound_from_the_host_where_none_can_be_made(
    oci: Runtime, bundle: Bundle
) -> None:
    number = os.stat("/dev/kmsg").st_rdev if os.path.exists("/dev/kmsg") else 0
    if not number:
        pytest.skip("the machine has no /dev/kmsg")
    node = {"type": "c", "major": os.major(number), "minor": os.minor(number)}
    path = bundle(
        ["stat", "-c", "%t:%T", "/dev/kmsg"], linux(devices=[{"path": "/dev/kmsg", **node}])
    )
    assert oci.output_of(path).strip() == f"{os.major(number):x}:{os.minor(number):x}"
    wrong = bundle("true", linux(devices=[{"path": "/dev/kmsg", **node, "minor": 250}]))
    said = oci.refused("run", "-b", wrong, oci.new_id())
    assert said == "pyrun: device /dev/kmsg: the host's is another device\n"
    missing = bundle("true", linux(devices=[{"path": "/dev/nothing here", **node}]))
    said = oci.refused("run", "-b", missing, oci.new_id())
    assert "device /dev/nothing here: may not be made here, nor bound from the host: No" in said


def test_a_file_in_place_of_a_device_is_refused(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", linux(devices=[{"path": "/x", "type": "c", "major": 1, "minor": 3}]))
    (path / "rootfs/x").touch()
    said = oci.refused("run", "-b", path, oci.new_id())
    assert said == "pyrun: device /x: the image has something else there\n"


@as_root
@pytest.mark.parametrize("allowed", [False, True])
def test_device_rules_say_what_can_be_opened(allowed: bool, oci: Runtime, bundle: Bundle) -> None:
    def edit(config: Config) -> None:
        for names in config["process"]["capabilities"].values():
            names.append("CAP_MKNOD")
        if allowed:
            config["linux"]["resources"]["devices"].append(
                {"allow": True, "type": "c", "major": 254, "minor": 0, "access": "r"}
            )

    result = oci.run(bundle("mknod /tmp/x c 254 0; cat /tmp/x; echo y > /tmp/x", writable, edit))
    read, write = result.stderr.splitlines()
    # Nobody has a driver for it: what is allowed finds no device.
    assert read.endswith("Operation not permitted") is not allowed
    assert write.endswith("Operation not permitted")


# --- without a mount namespace -------------------------------------------------------------------


def bare(config: Config) -> None:
    """An edit: nothing that needs a mount namespace."""
    without("mount")(config)
    config["root"]["readonly"] = False
    config["mounts"] = []
    config["linux"].update(maskedPaths=[], readonlyPaths=[])


@as_root
def test_without_a_mount_namespace_the_root_is_changed_by_chroot(
    oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("ls /; ls /..; echo > /tmp/file", bare)
    names = sorted(os.listdir(path / "rootfs"))
    assert oci.output_of(path).split() == [*names, *names]
    assert stat.S_ISREG((path / "rootfs/tmp/file").stat().st_mode)


@as_root
@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (mount("/m", "/tmp", "bind"), "linux.namespaces: mounts, "),
        (linux(sysctl={"kernel.msgmax": "1"}), "linux.namespaces: mounts, "),
        (linux(maskedPaths=["/x"]), "linux.maskedPaths: needs a mount namespace"),
        (linux(readonlyPaths=["/x"]), "linux.readonlyPaths: needs a mount namespace"),
        (lambda c: c["root"].update(readonly=True), "linux.namespaces: mounts, "),
    ],
    ids=("mount", "sysctl", "mask", "read-only path", "read-only root"),
)
def test_without_a_mount_namespace_what_needs_one_is_refused(
    edit: Edit, place: str, oci: Runtime, bundle: Bundle
) -> None:
    path = bundle("echo ran", bare, edit)
    assert place in oci.refused("run", "-b", path, oci.new_id())
    assert not oci.root.exists() or list(oci.root.iterdir()) == []
