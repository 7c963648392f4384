"""mounts add and remove: mounts in a container that runs already."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime.lifecycle.edits import capabilities, user_namespace, writable
from tests.runtime.lifecycle.runtime_calls import FOREVER, Runtime, as_root, give_away

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Bundle = Callable[..., Path]


def _file(oci: Runtime, *mounts: object) -> Path:
    path = oci.room.place / "mounts.json"
    path.write_text(json.dumps(list(mounts)))
    return path


def _bind(source: Path, destination: str, *options: str) -> dict[str, object]:
    words = ["rbind", *options]
    return {"destination": destination, "type": "bind", "source": str(source), "options": words}


@pytest.mark.parametrize(
    ("caller", "read_only_root"),
    [("root", True), ("root", False), ("user", True), ("lone_user", True)],
    indirect=["caller"],
)
def test_a_mount_is_added_to_a_running_container_and_removed(
    read_only_root: bool, oci: Runtime, bundle: Bundle
) -> None:
    data = oci.room.directory("data", {"file": "content"})
    path = bundle(FOREVER, *([] if read_only_root else [writable]))
    box = oci.started(path)
    file = _file(oci, _bind(data, "/new/place"), _bind(data / "file", "/a-file", "ro"))
    oci.ok("mounts", "add", box, file)
    assert oci.ok("exec", box, "sh", "-c", "cat /new/place/file /a-file") == "contentcontent"
    oci.ok("exec", box, "sh", "-c", "echo from inside > /new/place/out")
    assert (data / "out").read_text() == "from inside\n"
    assert "Read-only" in oci("exec", box, "sh", "-c", "echo x > /a-file").stderr
    assert ("Read-only" in oci("exec", box, "touch", "/x").stderr) == read_only_root
    oci.ok("mounts", "remove", box, file)
    assert oci.ok("exec", box, "ls", "/new/place") == ""
    assert (data / "file").read_text() == "content"


@as_root
def test_read_only_stays_so_against_who_has_sys_admin_in_its_user_namespace(
    oci: Runtime, bundle: Bundle
) -> None:
    data = oci.room.directory("data", {"file": "content", "below/": None})
    subprocess.run(["mount", "-t", "tmpfs", "none", data / "below"], check=True)
    try:
        path = bundle(FOREVER, user_namespace(), capabilities("SYS_ADMIN"), writable)
        give_away(path)
        box = oci.started(path)
        oci.ok("mounts", "add", box, _file(oci, _bind(data, "/ro", "rro"),
                                           _bind(data / "file", "/f", "ro")))  # fmt: skip
        for place in ("/ro", "/ro/below", "/f"):
            done = oci("exec", box, "mount", "-o", "remount,bind,rw", place)
            assert done.status != 0, place
            assert "permission denied" in done.stderr.lower(), done
        assert "Read-only" in oci("exec", box, "touch", "/ro/x").stderr
        assert "Read-only" in oci("exec", box, "touch", "/ro/below/x").stderr
        # What it mounted itself, it may remount: it has the right, only not over this one.
        script = "mount -t tmpfs none /tmp; mount -o remount,bind,ro /tmp; "
        script += "mount -o remount,bind,rw /tmp; touch /tmp/x"
        oci.ok("exec", box, "sh", "-c", script)
    finally:
        subprocess.run(["umount", "-l", data / "below"], check=True)


@as_root
def test_ids_of_an_added_mount_can_be_mapped(oci: Runtime, bundle: Bundle) -> None:
    data = oci.room.directory("data", {"file": "content"})
    path = bundle(FOREVER, user_namespace())
    give_away(path)
    box = oci.started(path)
    file = _file(oci, _bind(data, "/plain"), _bind(data, "/mapped", "idmap"))
    added = oci("mounts", "add", box, file)
    if "ids cannot be mapped" in added.stderr:
        pytest.skip("no idmapped mounts on this filesystem")
    assert (added.status, added.stderr) == (0, "")
    owners = oci.ok("exec", box, "stat", "-c", "%u", "/plain/file", "/mapped/file")
    assert owners.split() == ["65534", "0"]


@as_root
def test_a_place_below_another_read_only_mount_is_refused(oci: Runtime, bundle: Bundle) -> None:
    data = oci.room.directory("data")
    path = bundle(FOREVER)
    box = oci.started(path)
    said = oci.refused("mounts", "add", box, _file(oci, _bind(data, "/sys/fs/cgroup/x")))
    assert "mount /sys/fs/cgroup/x: Read-only file system" in said
    assert not (path / "rootfs/sys/fs").exists()


@as_root
def test_a_link_of_the_container_cannot_lead_a_mount_out_of_it(
    oci: Runtime, bundle: Bundle
) -> None:
    data = oci.room.directory("data", {"file": "content"})
    path = bundle(FOREVER, writable)
    Path(f"{path}/rootfs/{oci.room.place}").mkdir(parents=True)
    (path / "rootfs/link").symlink_to("/../../../../.." + str(oci.room.place))
    box = oci.started(path)
    oci.ok("mounts", "add", box, _file(oci, _bind(data, "/link/x")))
    assert not (oci.room.place / "x").exists()
    assert oci.ok("exec", box, "cat", f"{oci.room.place}/x/file") == "content"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "not valid JSON"),
        ("{}", "mounts.json"),
        ('[{"source": "x"}]', "destination"),
        ('[{"destination": "/x", "type": "tmpfs", "source": "x"}]', "only binds can be added"),
        ('[{"destination": "/x", "type": "bind", "source": "/nothing"}]', "/nothing: No such"),
        ('[{"destination": "/proc", "type": "bind", "source": "/etc"}]', "cover /proc"),
    ],
)
@as_root
def test_what_cannot_be_mounted_is_named(
    document: str, words: str, oci: Runtime, bundle: Bundle
) -> None:
    box = oci.started(bundle(FOREVER))
    path = oci.room.place / "mounts.json"
    path.write_text(document)
    assert words in oci.refused("mounts", "add", box, path)


@as_root
def test_a_stopped_container_takes_no_mounts_and_what_is_not_there_is_not_removed(
    oci: Runtime, bundle: Bundle
) -> None:
    data = oci.room.directory("data")
    box = oci.started(bundle(FOREVER))
    file = _file(oci, _bind(data, "/nothing"))
    assert "mount /nothing: No such file" in oci.refused("mounts", "remove", box, file)
    assert "mount /etc: Invalid argument" in oci.refused(
        "mounts", "remove", box, _file(oci, _bind(data, "/etc"))
    )
    assert "add|remove ID FILE" in oci.refused("mounts", "change", box, file)
    oci.stop(box)
    assert f"container '{box}' is stopped" in oci.refused("mounts", "add", box, file)


@as_root
def test_the_host_sees_nothing_of_it(oci: Runtime, bundle: Bundle) -> None:
    data = oci.room.directory("data")
    box = oci.started(bundle(FOREVER, writable))
    namespace = os.readlink("/proc/self/ns/mnt")
    oci.ok("mounts", "add", box, _file(oci, _bind(data, "/x")))
    assert os.readlink("/proc/self/ns/mnt") == namespace
    assert str(data) not in Path("/proc/self/mountinfo").read_text()
