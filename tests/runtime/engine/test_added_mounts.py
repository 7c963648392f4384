"""mount and umount: files of the host in a container that runs already."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engine.boxes import Boxes
from tests.support import Caller, command, environment, file, make_image, run

as_root = pytest.mark.parametrize("caller", ["root"], indirect=True)


@pytest.fixture
def boxes(public: Path, caller: Caller, busybox: Path) -> Iterator[Boxes]:
    made = Boxes(public / "own", caller, busybox)
    yield made
    made.clear()


def _recorded(boxes: Boxes, box: str) -> list[dict[str, object]]:
    path = boxes.store / "containers" / box / "mounts.json"
    found: list[dict[str, object]] = json.loads(path.read_text()) if path.exists() else []
    return found


@pytest.mark.parametrize("root", [(), ("--read-only",)], ids=["writable", "read-only"])
def test_a_directory_is_mounted_and_unmounted(boxes: Boxes, root: tuple[str, ...]) -> None:
    data = boxes.file("data/file", "content\n").parent
    box = boxes.started(*root)
    boxes.ok("mount", data, f"{box}:/new/place/")
    boxes.ok("mount", "-o", "ro", data / "file", f"{box}:/a-file")
    assert boxes.ok("exec", box, "cat", "/new/place/file", "/a-file") == "content\n" * 2
    boxes.ok("exec", box, "sh", "-c", "echo inside > /new/place/out")
    assert (data / "out").read_text() == "inside\n"
    assert "Read-only" in boxes("exec", box, "sh", "-c", "echo x > /a-file").stderr
    assert ("Read-only" in boxes("exec", box, "touch", "/x").stderr) == bool(root)
    assert _recorded(boxes, box) == [
        {"source": str(data), "destination": "/new/place", "options": ["rbind"]},
        {"source": str(data / "file"), "destination": "/a-file", "options": ["rbind", "rro"]},
    ]
    (shown,) = json.loads(boxes.ok("inspect", box))
    places = [(mount["Destination"], mount["RW"]) for mount in shown["Mounts"]]
    assert places == [("/new/place", True), ("/a-file", False)]
    boxes.ok("umount", f"{box}:/new/place")
    assert boxes.ok("exec", box, "ls", "/new/place") == ""
    assert [found["destination"] for found in _recorded(boxes, box)] == ["/a-file"]
    boxes.ok("stop", "-t", "10", box)
    assert _recorded(boxes, box) == []
    assert str(boxes.place) not in Path("/proc/self/mounts").read_text()
    assert (data / "file").read_text() == "content\n"


@as_root
def test_read_only_stays_so_for_who_has_sys_admin(boxes: Boxes) -> None:
    data = boxes.file("data/file").parent
    more = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    box = boxes.started(*more)
    boxes.ok("mount", "-o", "ro", data, f"{box}:/data")
    boxes.ok("mount", "-o", "ro", data / "file", f"{box}:/file")
    for place in ("/data", "/file"):
        ended = boxes("exec", box, "mount", "-o", "remount,rw,bind", place)
        assert ended.status != 0
        assert "ermi" in ended.stderr
    assert "Read-only" in boxes("exec", box, "touch", "/data/x").stderr
    # What is not read-only can be made so: that it was refused above is not for another reason.
    boxes.ok("mount", data, f"{box}:/open")
    boxes.ok("exec", box, "mount", "-o", "remount,ro,bind", "/open")
    boxes.ok("exec", box, "mount", "-o", "remount,rw,bind", "/open")
    boxes.ok("umount", f"{box}:/data")


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
def test_what_cannot_be_mounted_is_said(boxes: Boxes) -> None:
    data = boxes.file("data/file").parent
    box = boxes.started("--name", "web", "-v", f"{data}:/vol")
    place = f"{box}:/d"

    def refused(*arguments: str | Path) -> str:
        ended = boxes(*arguments)
        assert ended.status == 125, ended
        assert "internal error" not in ended.stderr
        return ended.stderr

    assert "/none does not exist" in refused("mount", "/none", place)
    assert "absolute path" in refused("mount", data, f"{box}:d")
    assert "may lead outside" in refused("mount", data, f"{box}:/tmp/../../d")
    assert "the root itself" in refused("mount", data, f"{box}:/./")
    assert "CONTAINER:DEST expected" in refused("mount", data, box)
    assert "'sync' is no option" in refused("mount", "-o", "sync", data, place)
    assert "nothing may cover /proc" in refused("mount", data, f"{box}:/proc/sys")
    assert "at /vol already" in refused("mount", data, f"{box}:/vol")
    boxes.ok("mount", data, place)
    assert "container web: something is mounted at /d already" in refused("mount", data, place)
    assert "nothing was mounted at /proc" in refused("umount", f"{box}:/proc")
    boxes.ok("stop", "web")
    assert "web is exited, not running" in refused("mount", data, place)


@as_root
def test_a_link_in_the_container_does_not_lead_a_mount_out_of_it(boxes: Boxes) -> None:
    data = boxes.file("data/file").parent
    outside = boxes.place / "outside"
    box = boxes.started()
    boxes.ok("exec", box, "ln", "-s", str(outside), "/link")
    boxes.ok("mount", data, f"{box}:/link")
    assert boxes.ok("exec", box, "cat", f"{outside}/file") == "content\n"
    assert not outside.exists()


@as_root
def test_ids_are_mapped(boxes: Boxes) -> None:
    data = boxes.file("data/file").parent
    os.chown(data / "file", 1000, 1000)
    box = boxes.started()
    maps = "idmap=uids=1000-0-1#gids=1000-0-1"
    ended = boxes("mount", "-o", maps, data, f"{box}:/data")
    if "cannot be mapped" in ended.stderr:
        pytest.skip("the filesystem maps no ids")
    assert boxes.ok("exec", box, "stat", "-c", "%u %g", "/data/file") == "0 0\n"


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
def test_an_image_is_mounted_read_only(boxes: Boxes, layers: int) -> None:
    contents = [[file(f"file{n}", f"{n}\n"), file("same", f"{n}\n")] for n in range(layers)]
    image = make_image(boxes.place / "data.tar", contents)
    box = boxes.started()
    boxes.ok("mount", "--type", "image", image, f"{box}:/image")
    assert boxes.ok("exec", box, "cat", "/image/same") == f"{layers - 1}\n"
    assert boxes.ok("exec", box, "cat", "/image/file0") == "0\n"
    assert "Read-only" in boxes("exec", box, "touch", "/image/x").stderr
    boxes.ok("umount", f"{box}:/image")
    assert boxes.ok("exec", box, "ls", "/image") == ""


@as_root
def test_an_image_that_a_container_has_mounted_is_not_pruned(boxes: Boxes) -> None:
    image = make_image(boxes.place / "data.tar", [[file("one", "1\n")], [file("two", "2\n")]])
    box = boxes.started("--mount", f"type=image,source={image},destination=/first")
    boxes.ok("mount", "--type", "image", image, f"{box}:/second")
    layers = sorted((boxes.store / "layers").iterdir())
    assert len(layers) == 2
    env = environment(None, PYBUILD_ROOT=str(boxes.store))
    pruned = run([*command("pybuild"), "prune", "--all"], env=env)
    assert pruned.status == 0, pruned.stderr
    assert sorted((boxes.store / "layers").iterdir()) == layers
    said = boxes.ok("exec", box, "cat", "/first/one", "/second/two")
    assert said == "1\n2\n"
    boxes.ok("rm", "-f", box)
    run([*command("pybuild"), "prune", "--all"], env=env)
    assert list((boxes.store / "layers").iterdir()) == []
