"""cp, diff and export: a container's files from outside, whether it runs or not."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.engine.boxes import Boxes
from tests.support import Caller, command, environment, tar_of
from tests.support import file as tar_file
from tests.support import symlink as tar_link

as_root = pytest.mark.parametrize("caller", ["root"], indirect=True)
both = pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
_CHANGE = "mkdir /new; echo n > /new/n; echo c >> /etc/group; rm /etc/passwd; ln -s /x /new/l; "


@pytest.fixture
def boxes(public: Path, caller: Caller, busybox: Path) -> Iterator[Boxes]:
    made = Boxes(public / "own", caller, busybox)
    yield made
    made.clear()


def _box(boxes: Boxes, *, running: bool, script: str = "true") -> str:
    if running:
        box = boxes.started()
        boxes.ok("exec", box, "sh", "-c", script)
        return box
    box = boxes.made(command=("sh", "-c", script))
    boxes.ok("start", box)
    boxes.ok("wait", box)
    return box


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@both
def test_what_goes_where_is_as_docker_has_it(boxes: Boxes, running: bool) -> None:
    data = boxes.file("tree/file", "content\n").parent
    box = _box(boxes, running=running)
    out = boxes.place / "out"
    for source, target in (
        (data / "file", "/tmp"),  # a file into a directory
        (data / "file", "/tmp/renamed"),  # to a new name
        (data / "file", "/tmp/renamed"),  # over it
        (data, "/tmp"),  # a directory into another
        (data, "/tmp/copied"),  # to a new name
        (f"{data}/.", "/tmp/tree/sub"),  # what is in it, to a new name
        (f"{data}/.", "/root"),  # what is in it, into another
    ):
        boxes.ok("cp", source, f"{box}:{target}")
    expected = ["file", "renamed", "tree/file", "copied/file", "tree/sub/file"]
    for name in expected:
        boxes.ok("cp", f"{box}:/tmp/{name}", out)
        assert out.read_text() == "content\n"
        assert out.stat().st_uid == boxes.caller.uid
    boxes.ok("cp", f"{box}:root/file", out)
    boxes.ok("cp", f"{box}:/tmp", boxes.place / "all")
    found = sorted(
        str(p.relative_to(boxes.place / "all")) for p in (boxes.place / "all").rglob("*")
    )
    assert set(expected) <= set(found)
    for source, target, words in (
        (f"{box}:/none", str(out), "No such file"),
        (f"{box}:/tmp", str(out), "is no directory"),
        (str(out), f"{box}:/none/", "there is no such directory"),
        (str(out), f"{box}:/none/x", "No such file"),
        (f"{out}/", f"{box}:/tmp", "is no directory"),
        (str(out), str(out), "one of the two"),
        (f"{box}:/a", f"{box}:/b", "one of the two"),
        (str(data), f"{box}:/tmp/renamed", "is no directory"),
    ):
        ended = boxes("cp", source, target)
        assert (ended.status, words in ended.stderr) == (125, True), ended.stderr


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@both
def test_a_tar_goes_in_and_out(boxes: Boxes, running: bool) -> None:
    box = _box(boxes, running=running)
    sent = tar_of([tar_file("a/b", "in a tar\n"), tar_link("a/l", "/etc/passwd")])
    boxes.ok("cp", "-", f"{box}:/tmp", stdin=sent)
    script = [*command("pyrun"), "cp", f"{box}:/tmp/a", "-"]
    env = environment(
        boxes.caller,
        PYBUILD_ROOT=str(boxes.store),
        XDG_RUNTIME_DIR=str(boxes.place / "runtime"),
    )
    said = subprocess.run(
        script, check=True, capture_output=True, env=env, cwd="/", **boxes.caller.switch
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(said)) as archive:
        assert sorted(archive.getnames()) == ["a", "a/b", "a/l"]
        content = archive.extractfile("a/b")
        assert content is not None
        assert content.read() == b"in a tar\n"
        assert archive.getmember("a/l").linkname == "/etc/passwd"
    assert "no tar" in boxes("cp", "-", f"{box}:/tmp", stdin=b"no tar").stderr


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@as_root
def test_no_link_of_a_container_leads_out_of_it(boxes: Boxes, running: bool) -> None:
    secret = boxes.file("outside/secret", "of the host\n")
    links = f"ln -s {secret} /to-file; ln -s {secret.parent} /to-folder; "
    links += f"ln -s ../../../../..{secret.parent} /tmp/up; ln -s /proc/1/root /proc-root"
    box = _box(boxes, running=running, script=links)
    out = boxes.place / "out"
    for path in ("/to-folder/secret", "/tmp/up/secret", "/to-folder/"):
        ended = boxes("cp", f"{box}:{path}", out)
        assert (ended.status, "No such file" in ended.stderr) == (125, True), path
    ended = boxes("cp", "-L", f"{box}:/to-file", out)
    assert "No such file" in ended.stderr
    boxes.ok("cp", f"{box}:/to-file", out)
    assert os.readlink(out) == str(secret)
    data = boxes.file("data/file", "written\n")
    assert boxes("cp", data, f"{box}:/to-folder/").status == 125
    boxes.ok("cp", data, f"{box}:/to-file")  # the link is replaced
    tar = tar_of([tar_link("up", "../../.."), tar_file("to-folder/secret", "tar\n")])
    boxes("cp", "-", f"{box}:/", stdin=tar)
    assert boxes("cp", "-", f"{box}:/", stdin=tar_of([tar_file("../x", "y")])).status == 125
    assert secret.read_text() == "of the host\n"
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]


@as_root
def test_owners_are_kept_when_asked(boxes: Boxes) -> None:
    data = boxes.file("data/file")
    os.chown(data, 1000, 50)
    box = boxes.started()
    boxes.ok("cp", data, f"{box}:/plain")
    boxes.ok("cp", "-a", data, f"{box}:/kept")
    said = boxes.ok("exec", box, "stat", "-c", "%u:%g", "/plain", "/kept")
    assert said == "0:0\n1000:50\n"


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@both
def test_diff_and_export(boxes: Boxes, running: bool) -> None:
    script = _CHANGE + "rm -r /home/alice; mkdir /home/alice; touch /home/alice/x"
    box = _box(boxes, running=running, script=script)
    said = boxes.ok("diff", box).splitlines()
    assert {"A /new", "A /new/n", "A /new/l", "C /etc", "C /etc/group", "D /etc/passwd"} <= {*said}
    assert {"C /home", "A /home/alice/x"} <= {*said}
    assert "A /bin/sh" not in said
    out = boxes.place / "out.tar"
    boxes.ok("export", "-o", out, box)
    with tarfile.open(out) as archive:
        names = archive.getnames()
        assert {"new/n", "bin/busybox", "proc", "etc/group"} <= {*names}
        assert "etc/passwd" not in names
        assert not [name for name in names if name.startswith("proc/")]
        content = archive.extractfile("new/n")
        assert content is not None
        assert content.read() == b"n\n"
        assert archive.getmember("new/l").linkname == "/x"
    assert boxes("export", "-o", "/none/x", box).status == 125
    assert boxes("diff", "none").status == 125


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@both
def test_commit_makes_an_image_of_what_the_container_has_written(
    boxes: Boxes, running: bool
) -> None:
    script = _CHANGE + "rm -r /home; mkdir /home; touch /home/x; chmod 4755 /new/n"
    box = _box(boxes, running=running, script=script)
    change = ("-c", 'CMD ["cat", "/new/n"]', "-c", "ENV A=b", "-c", "LABEL l=m")
    digest = boxes.ok("commit", "-m", "a message", "-a", "somebody", *change, box, "mine").strip()
    assert digest.startswith("sha256:")
    assert boxes.ok("run", "--rm", "mine") == "n\n"
    script = "ls /home; cat /etc/passwd; tail -n1 /etc/group; stat -c %a /new/n; echo $A"
    ended = boxes("run", "--rm", "mine", "sh", "-c", script)
    assert ended.stdout == "x\nc\n4755\nb\n"
    assert "can't open '/etc/passwd': No such file" in ended.stderr
    # Of the new image, one more; the container that runs goes on.
    again = boxes.made(command=("true",))
    assert boxes.ok("commit", again, "other:1").startswith("sha256:")
    assert boxes.ok("run", "--rm", "other:1", "echo", "yes") == "yes\n"
    if running:
        assert boxes.ok("exec", box, "true") == ""
    assert "cannot be changed" in boxes("commit", "-c", "FROM x", box, "y").stderr
    assert boxes("commit", box).status == 125
