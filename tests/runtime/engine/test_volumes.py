"""Volumes with and without names, and the other mounts and devices of `run` and `create`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engine.boxes import Boxes
from tests.support import Caller, busybox_layer, directory, file, make_image

as_root = pytest.mark.parametrize("caller", ["root"], indirect=True)
both = pytest.mark.parametrize("caller", ["root", "user"], indirect=True)


@pytest.fixture
def boxes(public: Path, caller: Caller, busybox: Path) -> Iterator[Boxes]:
    made = Boxes(public / "own", caller, busybox)
    yield made
    made.clear()


def _run(boxes: Boxes, *options: str | Path, script: str) -> str:
    return boxes.ok("run", "--rm", *options, boxes.image, "sh", "-c", script)


def _inspect(boxes: Boxes, name: str) -> dict[str, object]:
    found: list[dict[str, object]] = json.loads(boxes.ok("volume", "inspect", name))
    return found[0]


def test_a_volume_outlives_the_containers_that_write_to_it(boxes: Boxes) -> None:
    assert _run(boxes, "-v", "data:/srv/data", script="echo kept > /srv/data/file") == ""
    assert _run(boxes, "-v", "data:/other:ro", script="cat /other/file") == "kept\n"
    ended = boxes("run", "--rm", "-v", "data:/d:ro", boxes.image, "touch", "/d/x")
    assert "Read-only" in ended.stderr
    assert boxes.ok("volume", "ls", "-q") == "data\n"
    assert _inspect(boxes, "data")["Mountpoint"] == f"{boxes.store}/volumes/data/data"
    assert (boxes.store / "volumes/data/data/file").read_text() == "kept\n"
    boxes.ok("volume", "rm", "data")
    assert boxes.ok("volume", "ls") == "DRIVER    VOLUME NAME\n"
    assert not (boxes.store / "volumes/data").exists()


@both
def test_a_volume_in_use_is_shown_and_not_removed(boxes: Boxes) -> None:
    assert boxes.ok("volume", "create", "-l", "a=b", "v1") == "v1\n"
    boxes.made("--name", "user-of-it", "--mount", "type=volume,src=v1,dst=/v")
    found = _inspect(boxes, "v1")
    assert (found["Containers"], found["Labels"]) == (["user-of-it"], {"a": "b"})
    (shown,) = json.loads(boxes.ok("inspect", "user-of-it"))
    (mount,) = shown["Mounts"]
    assert (mount["Type"], mount["Name"], mount["Destination"]) == ("volume", "v1", "/v")
    ended = boxes("volume", "rm", "v1", "none")
    assert ended.status == 125
    assert "volume v1 is in use by user-of-it" in ended.stderr
    assert "no volume 'none'" in ended.stderr
    boxes.ok("rm", "-v", "user-of-it")
    assert boxes.ok("volume", "ls", "-q") == "v1\n"
    assert boxes.ok("volume", "prune") == ""
    assert boxes.ok("volume", "prune", "-a") == "v1\n"


@both
def test_a_volume_without_a_name_goes_with_its_container_when_asked(boxes: Boxes) -> None:
    boxes.made("--name", "box-a", "-v", "/v")
    boxes.made("--name", "box-b", "-v", "/v")
    assert len(boxes.ok("volume", "ls", "-q").splitlines()) == 2
    boxes.ok("rm", "-v", "box-a")
    (left,) = boxes.ok("volume", "ls", "-q").splitlines()
    boxes.ok("rm", "box-b")
    assert boxes.ok("volume", "prune") == f"{left}\n"
    assert _run(boxes, "-v", "/v", script="echo x > /v/x") == ""
    assert boxes.ok("volume", "ls", "-q") == ""


@both
def test_a_new_volume_gets_what_the_image_has_at_its_place_and_a_used_one_does_not(
    boxes: Boxes,
) -> None:
    owner = {"uid": 0, "gid": 0}
    layer = [
        *busybox_layer(),
        directory("srv", mode=0o750, **owner),
        file("srv/index", "from the image\n", mode=0o600, **owner),
    ]
    image = make_image(boxes.place / "srv.tar", [layer])
    run = ("run", "--rm", "-v", "web:/srv", image, "sh", "-c")
    assert boxes.ok(*run, "cat /srv/index; stat -c '%a' /srv /srv/index") == (
        "from the image\n750\n600\n"
    )
    boxes.ok(*run, "echo mine > /srv/index")
    assert boxes.ok(*run, "cat /srv/index") == "mine\n"
    script = "ls /srv"
    assert boxes.ok("run", "--rm", "-v", "n:/srv:nocopy", image, "sh", "-c", script) == ""


@both
def test_mounts_of_every_type(boxes: Boxes) -> None:
    data = boxes.file("data/file").parent
    layers = [[file("one", "1\n")], [file("two", "2\n")]]
    image = make_image(boxes.place / "data.tar", layers)
    options = (
        *("--mount", f"type=bind,source={data},target=/bind,readonly"),
        *("--mount", "type=tmpfs,destination=/tmpfs,tmpfs-size=1m,tmpfs-mode=700"),
        *("--tmpfs", "/more:size=2m,noexec", "--shm-size", "3m"),
        *("--mount", f"type=image,source={image},destination=/image"),
    )
    script = "cat /bind/file /image/one /image/two; touch /bind/x /image/x; stat -c %a /tmpfs; "
    script += "df -k /tmpfs /more /dev/shm | awk 'NR>1 {print $2, $6}'"
    ended = boxes("run", "--rm", *options, boxes.image, "sh", "-c", script)
    assert ended.stdout == ("content\n1\n2\n700\n1024 /tmpfs\n2048 /more\n3072 /dev/shm\n")
    assert ended.stderr.count("Read-only") == 2


@as_root
def test_a_device_is_there_and_no_other_can_be_made(boxes: Boxes) -> None:
    script = "test -c /dev/kmsg2 && stat -c %t:%T /dev/kmsg2; mknod /dev/mem2 c 1 1; "
    script += "head -c1 /dev/mem2; head -c 1 /dev/kmsg2 > /dev/null && echo read"
    device = ("--device", "/dev/kmsg:/dev/kmsg2:r", "--cap-add", "MKNOD", "--cap-add", "SYSLOG")
    ended = boxes("run", "--rm", *device, boxes.image, "sh", "-c", script)
    assert ended.stdout.splitlines()[0] == "1:b"
    assert ended.stderr.count("Operation not permitted") >= 1
    ended = boxes("run", "--rm", *device, boxes.image, "sh", "-c", "echo x > /dev/kmsg2")
    assert "Operation not permitted" in ended.stderr


@both
def test_words_that_fit_nothing_are_refused(boxes: Boxes) -> None:
    def refused(*options: str) -> str:
        ended = boxes("create", *options, boxes.image)
        assert ended.status == 125, ended
        assert "internal error" not in ended.stderr
        return ended.stderr

    assert "type is bind, volume, tmpfs or image" in refused("--mount", "type=x,dst=/a")
    assert "'foo' means nothing for type=bind" in refused(
        "--mount", "type=bind,src=/etc,dst=/a,foo=1"
    )
    assert "absolute path" in refused("--mount", "type=tmpfs,dst=a")
    assert "two mounts at /a" in refused("--tmpfs", "/a", "-v", "v:/a/")
    assert "'x' is no option of a tmpfs" in refused("--tmpfs", "/a:x")
    assert "is no device" in refused("--device", "/etc/passwd")
    assert "No such file" in refused("--env-file", "/none")
    assert "does not exist" in refused("-v", "/none:/a")
    assert boxes.ok("volume", "ls", "-q") == ""
    assert boxes("volume", "rm").status == 125
    assert "expected" in boxes("volume", "create", "-l", "a=b", "../x").stderr
    assert "create, ls, inspect, rm, prune expected" in boxes("volume", "x").stderr


@both
def test_variables_come_from_files_and_from_the_line(boxes: Boxes) -> None:
    path = boxes.file("env", "A=1\nB=has blanks \n")
    said = _run(boxes, "--env-file", path, "-e", "A=2", script='echo "$A,$B,"')
    assert said == "2,has blanks ,\n"
    path.write_text("no name\n")
    os.chown(path, boxes.caller.uid, boxes.caller.gid)
    ended = boxes("run", "--env-file", path, boxes.image)
    assert "env:1: 'no name': NAME=VALUE or NAME expected" in ended.stderr
