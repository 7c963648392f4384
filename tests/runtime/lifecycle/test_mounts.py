"""Mounts, the root, masked and read-only paths, and devices (config.md "Mounts")."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.runtime.lifecycle.edits import (
    bind,
    capabilities,
    linux,
    mount,
    namespace,
    process,
    user_namespace,
    without,
    without_mounts,
    writable,
)
from tests.runtime.lifecycle.runtime_calls import (
    Runtime,
    as_root,
    as_root_and_user,
    give_away,
)
from tests.support import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.runtime.lifecycle.runtime_calls import Config

    Bundle = Callable[..., Path]

MOUNTS = "cat /proc/self/mountinfo"


def _options(mountinfo: str, point: str) -> set[str]:
    """Options of the topmost mount at a place."""
    found = [line.split() for line in mountinfo.splitlines() if line.split()[4] == point]
    return set(found[-1][5].split(","))


@pytest.fixture
def nested(oci: Runtime) -> Iterator[Path]:
    """A directory of the host with a mount below it, at `below`. Only for root."""
    place = oci.room.directory("nested", {"file": "top", "below/": None})
    subprocess.run(["mount", "-t", "tmpfs", "none", place / "below"], check=True)
    try:
        (place / "below/file").write_text("below")
        yield place
    finally:
        subprocess.run(["umount", "-l", place / "below"], check=True)


def test_a_bind_shows_a_directory_of_the_host_and_takes_writes(
    oci: Runtime, bundle: Bundle
) -> None:
    source = oci.room.directory("data", {"file": "content"})
    path = bundle("cat /data/file; echo new > /data/new", bind(source, "/data"), writable)
    assert oci.output_of(path) == "content"
    assert (source / "new").read_text() == "new\n"


@as_root_and_user
def test_a_file_can_be_bound_and_its_place_is_made(oci: Runtime, bundle: Bundle) -> None:
    source = oci.room.directory("data", {"file": "content"})
    path = bundle("cat /a/b/c", bind(source / "file", "/a/b/c", "ro"))
    assert oci.output_of(path) == "content"


@as_root
def test_ro_is_for_the_mount_alone_and_rro_for_those_below(
    nested: Path, oci: Runtime, bundle: Bundle
) -> None:
    script = "for d in ro rro; do touch /$d/x 2>&1; touch /$d/below/x 2>&1 && echo written; done"
    out = oci.run(bundle(script, bind(nested, "/ro", "ro"), bind(nested, "/rro", "rro"))).stdout
    assert out.splitlines() == [
        "touch: /ro/x: Read-only file system",
        "written",
        "touch: /rro/x: Read-only file system",
        "touch: /rro/below/x: Read-only file system",
    ]


@as_root
def test_bind_leaves_out_what_is_mounted_below(nested: Path, oci: Runtime, bundle: Bundle) -> None:
    assert oci.output_of(bundle("ls /x/below", bind(nested, "/x", "bind"))) == ""
    assert oci.output_of(bundle("ls /x/below", bind(nested, "/x"))) == "file\n"


@as_root_and_user
def test_attributes_are_set_and_the_last_word_counts(oci: Runtime, bundle: Bundle) -> None:
    source = oci.room.directory("data")
    words: tuple[str, ...] = ("ro", "nosuid", "nodev", "noexec", "noatime", "rw", "exec")
    if not oci.caller.is_root:  # what the caller's own mount has is locked there
        words = ("nosuid", "nodev", "noexec", "ro")
    found = _options(oci.output_of(bundle(MOUNTS, bind(source, "/data", *words))), "/data")
    if oci.caller.is_root:
        assert found == {"rw", "nosuid", "nodev", "noatime"}
    else:
        assert {"ro", "nosuid", "nodev", "noexec"} <= found


@as_root_and_user
def test_a_tmpfs_takes_its_options(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "stat -c '%a %u %F' /t; df -k /t | tail -1; dd if=/dev/zero of=/t/x bs=1k count=900 2>&1",
        mount("/t", "tmpfs", "tmpfs", "mode=1750", "size=512k", "nosuid", "noexec"),
    )
    result = oci.run(path)
    first, second, *rest = result.stdout.splitlines()
    assert first == "1750 0 directory"
    assert second.split()[1] == "512"
    assert "No space left on device" in rest[0]


def test_tmpcopyup_keeps_modes_owners_links_and_attributes(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "cd /d; stat -c '%n %a %u:%g %h %F' . * sub/*; readlink link; cat sub/file; echo y > new",
        mount("/d", "tmpfs", "tmpfs", "tmpcopyup", "mode=700"),
    )
    folder = path / "rootfs/d"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/file").write_text("content\n")
    os.link(folder / "sub/file", folder / "hard")
    (folder / "link").symlink_to("sub/file")
    oci.room.give(folder)
    (folder / "sub/file").chmod(0o4711)
    (folder / "sub").chmod(0o1777)
    folder.chmod(0o750)
    assert oci.output_of(path).splitlines() == [
        ". 750 0:0 3 directory",
        "hard 4711 0:0 2 regular file",
        "link 777 0:0 1 symbolic link",
        "sub 1777 0:0 2 directory",
        "sub/file 4711 0:0 2 regular file",
        "sub/file",
        "content",
    ]
    assert not (folder / "new").exists()


@as_root
def test_an_idmapped_mount_shows_files_as_the_containers_own(oci: Runtime, bundle: Bundle) -> None:
    source = oci.room.directory("data", {"file": "content"})
    if reason := _idmap_is_missing(source):
        pytest.skip(reason)
    path = bundle(
        "stat -c %u:%g /plain/file /mapped/file; touch /mapped/new",
        user_namespace(),
        bind(source, "/plain"),
        bind(source, "/mapped", "idmap"),
    )
    give_away(path)
    assert oci.output_of(path).split() == ["65534:65534", "0:0"]
    assert (source / "new").stat().st_uid == 0


@as_root
def test_a_mount_has_id_maps_of_its_own(oci: Runtime, bundle: Bundle) -> None:
    source = oci.room.directory("data", {"file": "content"})
    if reason := _idmap_is_missing(source):
        pytest.skip(reason)
    maps = [{"containerID": 0, "hostID": 77, "size": 10}]
    path = bundle(
        "stat -c %u:%g /mapped/file", bind(source, "/mapped", uidMappings=maps, gidMappings=maps)
    )
    assert oci.output_of(path) == "77:77\n"


def _idmap_is_missing(place: Path) -> str:
    from runtime.errors import ContainerError
    from runtime.oci.spec import IDMapping, Mount, Process, Spec
    from runtime.sandbox.mounts import close_trees, open_sources

    maps = (IDMapping(container_id=0, host_id=77, size=1),)
    probe = Mount(
        destination="/x", type="bind", source=str(place), options=("bind",),
        uid_mappings=maps, gid_mappings=maps,
    )  # fmt: skip
    try:
        close_trees(open_sources(Spec(process=Process(args=("x",)), mounts=(probe,))))
    except ContainerError as error:
        return f"no idmapped mounts here: {error.message}"
    return ""


@as_root_and_user
def test_the_root_is_read_only_if_the_config_says_so(oci: Runtime, bundle: Bundle) -> None:
    said = oci.run(bundle("touch /x; touch /dev/shm/x && echo shm"))
    assert said.stderr == "touch: /x: Read-only file system\n"
    assert said.stdout == "shm\n"
    path = bundle("touch /x", writable)
    oci.output_of(path)
    assert (path / "rootfs/x").exists()


@as_root_and_user
def test_masked_files_are_empty_and_masked_directories_too(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "cat /secret; ls /secrets; touch /secrets/x; echo x > /secret; cat /proc/kcore | wc -c",
        linux(maskedPaths=["/secret", "/secrets", "/nothing", "/proc/kcore"]),
        writable,
    )
    (path / "rootfs/secret").write_text("secret")
    (path / "rootfs/secrets").mkdir()
    (path / "rootfs/secrets/file").write_text("secret")
    oci.room.give(path / "rootfs")
    result = oci.run(path)
    assert result.stdout == "0\n"
    assert "touch: /secrets/x: Read-only file system" in result.stderr
    assert (path / "rootfs/secret").read_text() == "secret"


@as_root_and_user
def test_read_only_paths_cannot_be_written(oci: Runtime, bundle: Bundle) -> None:
    path = bundle(
        "touch /ro/x; echo 1 > /proc/sys/kernel/domainname; touch /rw",
        linux(readonlyPaths=["/ro", "/nothing", "/proc/sys"]),
        writable,
    )
    (path / "rootfs/ro").mkdir()
    oci.room.give(path / "rootfs")
    said = oci.run(path).stderr
    assert "touch: /ro/x: Read-only file system" in said
    assert "can't create /proc/sys/kernel/domainname: Read-only file system" in said
    assert (path / "rootfs/rw").exists()


def test_the_default_devices_are_there_and_work(oci: Runtime, bundle: Bundle) -> None:
    script = (
        "for n in null zero full random urandom tty; do stat -c '%n %F %a %t:%T' /dev/$n; done;"
        "for n in fd stdin stdout stderr ptmx; do readlink /dev/$n; done;"
        "echo x > /dev/null; head -c 4 /dev/zero | wc -c; echo x > /dev/full"
    )
    result = oci.run(bundle(script))
    out = result.stdout.splitlines()
    numbers = ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0")
    assert [line.split()[-1] for line in out[:6]] == list(numbers)
    assert {line.split(maxsplit=1)[1][:21] for line in out[:6]} == {"character special fil"}
    assert out[6:11] == ["/proc/self/fd", *(f"/proc/self/fd/{n}" for n in range(3)), "pts/ptmx"]
    assert out[11] == "4"
    assert "No space left on device" in result.stderr


@as_root
def test_devices_are_made_with_their_mode_and_owner(oci: Runtime, bundle: Bundle) -> None:
    devices = [
        {"path": "/dev/my/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640,
         "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p"},
    ]  # fmt: skip
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
    ]
    path = bundle(
        "stat -c '%F %a %u:%g %t:%T' /dev/my/zero /dev/pipe",
        linux(devices=devices, resources={"devices": rules}),
    )
    assert oci.output_of(path).splitlines() == [
        "character special file 640 3:4 1:5",
        "fifo 666 0:0 0:0",
    ]


def test_in_a_user_namespace_a_device_is_the_hosts_bound(oci: Runtime, bundle: Bundle) -> None:
    devices = [{"path": "/dev/urandom", "type": "c", "major": 1, "minor": 9}]
    edits = [user_namespace()] if oci.caller.is_root else []
    path = bundle("head -c 8 /dev/urandom | wc -c", linux(devices=devices), *edits)
    if oci.caller.is_root:
        give_away(path)
    assert oci.output_of(path) == "8\n"
    other = [{"path": "/dev/nothing", "type": "c", "major": 1, "minor": 9}]
    path = bundle("true", linux(devices=other), *edits)
    if oci.caller.is_root:
        give_away(path)
    said = oci.refused("run", "-b", path, oci.new_id())
    assert "device /dev/nothing: may not be made here, nor bound from the host" in said


@as_root
def test_only_devices_that_a_rule_allows_can_be_opened(oci: Runtime, bundle: Bundle) -> None:
    if not os.path.exists("/dev/loop7"):
        pytest.skip("no loop device")
    script = "mknod /dev/x b 7 7 && head -c1 /dev/x && echo opened"
    rule = {"allow": True, "type": "b", "major": 7, "minor": 7, "access": "r"}

    def edit(config: Config) -> None:
        config["linux"]["resources"]["devices"].append(rule)

    result = oci.run(bundle(script, capabilities("MKNOD")))
    assert result.stderr == "head: /dev/x: Operation not permitted\n"
    assert oci.output_of(bundle(script, capabilities("MKNOD"), edit)) == "opened\n"


@pytest.mark.parametrize(
    ("word", "has"),
    [
        ("rprivate", ""),
        ("rslave", "master:"),
        ("rshared", "shared:"),
        ("runbindable", "unbindable"),
    ],
)
@as_root
def test_the_roots_propagation_is_as_asked(
    word: str, has: str, oci: Runtime, bundle: Bundle
) -> None:
    """On a root that is a shared mount of the host, in a namespace for the call alone."""
    path = bundle(MOUNTS, linux(rootfsPropagation=word))
    argv = [*oci.argv, "--root", str(oci.root), "run", "-b", str(path), oci.new_id()]
    script = f'mount --bind {path} {path} && mount --make-shared {path} && exec "$@"'
    wrapped = ["unshare", "--mount", "sh", "-c", script, "sh", *argv]
    done = run(wrapped, env=oci.env)
    assert done.status == 0, done
    line = next(line for line in done.stdout.splitlines() if line.split()[4] == "/")
    fields = " ".join(line.partition(" - ")[0].split()[6:])
    assert fields.startswith(has) if has else fields == ""


@as_root
def test_the_cgroup_mount_shows_the_containers_own_group(oci: Runtime, bundle: Bundle) -> None:
    script = (
        "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | head -1"
    )
    own = bundle(script + "; grep -c /t /proc/self/cgroup")
    assert oci.run(own).stdout.split() == ["1", "0"]
    shared = bundle(script + "; mkdir /sys/fs/cgroup/pids/x /sys/fs/cgroup/x", without("cgroup"))
    result = oci.run(shared)
    assert result.stdout.split() == ["1"]
    assert "Read-only file system" in result.stderr


@as_root_and_user
def test_a_config_without_mounts_runs(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("ls /; ls /proc", without_mounts(), linux(maskedPaths=[], readonlyPaths=[]))
    assert "bin" in oci.output_of(path).split()


@as_root_and_user
def test_mounts_are_made_in_order_and_may_cover_each_other(oci: Runtime, bundle: Bundle) -> None:
    source = oci.room.directory("data", {"file": "content", "sub/": None})
    path = bundle(
        "ls /data; cat /data/sub/file",
        bind(source, "/data"),
        mount("/data/sub", "tmpfs", "tmpfs"),
        bind(source / "file", "/data/sub/file"),
    )
    assert oci.output_of(path) == "file\nsub\ncontent"
    assert list((source / "sub").iterdir()) == []


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (bind("/nothing/here", "/x"), "mount /x: /nothing/here: No such file or directory"),
        (mount("/x", "nofs", "none"), "mount /x: this kernel has no filesystem 'nofs'"),
        (mount("/x", "tmpfs", "none", "size=much"), "mount /x: "),
        (mount("/x", "tmpfs", "none", "unknown=1"), "mount /x: "),
        (mount("/etc/passwd/x", "tmpfs", "none"), "mount /etc/passwd/x: Not a directory"),
        (mount("/etc/passwd", "tmpfs", "none"), "mount /etc/passwd: "),
    ],
)
@as_root
def test_a_mount_that_cannot_be_made_is_named(
    edit: Callable[[Config], None], words: str, oci: Runtime, bundle: Bundle
) -> None:
    assert words in oci.refused("run", "-b", bundle("true", edit), oci.new_id())


@as_root_and_user
def test_the_working_directory_is_made(oci: Runtime, bundle: Bundle) -> None:
    assert oci.output_of(bundle("pwd", process(cwd="/made/for/it"), writable)) == "/made/for/it\n"


@as_root
def test_a_read_only_root_keeps_the_hosts_files_as_they_are(oci: Runtime, bundle: Bundle) -> None:
    path = bundle("true", namespace("user"), user_namespace())
    give_away(path)
    before = {name: os.lstat(path / "rootfs" / name) for name in os.listdir(path / "rootfs")}
    oci.output_of(path)
    for name, status in before.items():
        now = os.lstat(path / "rootfs" / name)
        assert (stat.filemode(now.st_mode), now.st_uid) == (
            stat.filemode(status.st_mode),
            status.st_uid,
        )
