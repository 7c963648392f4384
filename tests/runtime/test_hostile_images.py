"""Images whose own files stand where a container's mounts go: refused or contained.

The classes of CVE-2019-19921, CVE-2025-31133, CVE-2025-52565, CVE-2026-41579, CVE-2026-55686 and
CVE-2019-5736. What is outside must be afterwards what it was.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from tests.support import (
    Caller,
    Result,
    busybox_layer,
    directory,
    file,
    make_image,
    make_tree,
    run_pyrun,
    symlink,
    tree_state,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@pytest.fixture
def outside(public: Path) -> Path:
    """A tree outside of every root, which everybody may write to."""
    tree = make_tree(public / "outside", {"file": "x", "null": "x", "pts/": None, "shm/": None})
    for path in (tree, *tree.iterdir()):
        path.chmod(0o777)
    return tree


def _image(
    public: Path, without: str, *members: bytes, config: dict[str, Any] | None = None
) -> Path:
    """Busybox with one of its entries replaced."""
    layer = [m for m in busybox_layer() if m[:100].rstrip(b"\0") != without.encode()]
    config = {"Env": ["PATH=/bin"], "Cmd": ["true"]} | (config or {})
    return make_image(public / "i.tar", [[*layer, *members]], config)


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", ["{outside}", "../../../..{outside}", "tmp", "/missing", "."])
def test_a_mount_point_that_is_a_symlink_is_refused_by_name(
    place: str, target: str, public: Path, outside: Path, store: Path, caller: Caller
) -> None:
    before = tree_state(outside)
    image = _image(public, place, symlink(place, target.format(outside=outside)))
    result = run_pyrun(image, store=store, caller=caller)
    assert (result.status, result.stdout) == (125, "")
    assert result.stderr.startswith(f"pyrun: mount /{place}")
    assert "symbolic link" in result.stderr
    assert tree_state(outside) == before


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
def test_a_mount_point_that_is_a_file_is_refused_by_name(
    place: str, public: Path, store: Path, caller: Caller
) -> None:
    image = _image(public, place, file(place, "x"))
    result = run_pyrun(image, store=store, caller=caller)
    assert (result.status, result.stdout) == (125, "")
    assert result.stderr.startswith(f"pyrun: mount /{place}: ")


@pytest.mark.parametrize("place", ["proc", "sys", "dev"])
def test_a_mount_point_that_is_missing_is_made(
    place: str, public: Path, store: Path, caller: Caller
) -> None:
    image = _image(public, place)
    result = run_pyrun(image, "ls", f"/{place}", store=store, caller=caller)
    assert result.status == 0
    assert result.stdout.strip()


@pytest.mark.parametrize(
    "members",
    [
        [file("dev/null", "not null"), file("dev/console", "x"), file("dev/ptmx", "x")],
        [symlink("dev/null", "/etc/passwd"), symlink("dev/console", "/etc/passwd")],
        [symlink("dev/pts", "/etc"), symlink("dev/shm", "/etc"), symlink("dev/mqueue", "/")],
        [directory("dev/null"), directory("dev/console")],
    ],
)
def test_devices_of_the_image_are_not_used(
    members: list[bytes], public: Path, store: Path, caller: Caller
) -> None:
    image = _image(public, "none", *members)
    script = "stat -c %t:%T /dev/null; cat /proc/kcore /proc/keys /proc/timer_list; ls /dev/shm;"
    script += "cat /etc/group | wc -l"
    result = run_pyrun("-t", image, "sh", "-c", script, store=store, caller=caller)
    lines = result.stdout.replace("\r", "").splitlines()
    assert lines[0] == "1:3"
    assert [line for line in lines[1:] if "No such file" not in line] == ["4"]


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize("target", ["/", "/../../..", "{outside}", "../../../..{outside}"])
@pytest.mark.parametrize("how", ["WORKDIR", "-w"])
def test_a_working_directory_through_a_symlink_is_made_inside(
    how: str, target: str, public: Path, outside: Path, store: Path, caller: Caller
) -> None:
    before, host = tree_state(outside), set(os.listdir("/"))
    members = [directory(str(outside)), symlink("out", target.format(outside=outside))]
    config = {"WorkingDir": "/out/made/here"} if how == "WORKDIR" else {}
    options = ["-w", "/out/made/here"] if how == "-w" else []
    image = _image(public, "none", *members, config=config)
    result = run_pyrun(*options, image, "pwd", store=store, caller=caller)
    assert result.stdout.endswith("/made/here\n")
    assert tree_state(outside) == before
    assert set(os.listdir("/")) == host


@pytest.mark.parametrize(
    ("place", "member"),
    [
        ("/etc/passwd", None),
        ("/file", file("file", "x")),
        ("/link/x", symlink("link", "/missing")),
        ("/loop/x", symlink("loop", "loop")),
        ("/proc/1/cwd", None),
    ],
)
def test_a_working_directory_that_cannot_be_is_refused(
    place: str, member: bytes | None, public: Path, store: Path, caller: Caller
) -> None:
    image = _image(public, "none", *([member] if member else []))
    result = run_pyrun("-w", place, image, store=store, caller=caller)
    assert (result.status, result.stdout) in ((125, ""), (126, ""))
    assert place in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_interpreter_that_is_proc_self_exe_does_not_reach_ours(
    public: Path, store: Path, caller: Caller
) -> None:
    python = Path(os.path.realpath(sys.executable))
    before = hashlib.sha256(python.read_bytes()).hexdigest()
    image = _image(public, "none", file("evil", "#!/proc/self/exe\n", mode=0o755))
    result = run_pyrun(image, "/evil", store=store, caller=caller)
    assert result.status != 0
    assert hashlib.sha256(python.read_bytes()).hexdigest() == before


def test_python_modules_of_the_image_are_not_imported(
    public: Path, store: Path, caller: Caller
) -> None:
    # An error message is the likeliest thing to import something late.
    evil = "import os; os.write(1, b'EVIL'); os._exit(99)\n"
    version = f"python3.{sys.version_info.minor}"
    names = ("sitecustomize", "traceback", "warnings", "encodings/idna", "linecache", "shutil")
    places = (
        f"usr/lib/{version}",
        "usr/lib/python3/dist-packages",
        f"usr/local/lib/{version}",
        "",
    )
    members = [file(f"{place}/{name}.py".lstrip("/"), evil) for place in places for name in names]
    image = _image(public, "none", *members)
    for argv in (["/missing"], ["/etc"], ["true"]):
        result = run_pyrun(image, *argv, store=store, caller=caller)
        assert "EVIL" not in result.stdout
        assert result.status in (127, 126, 0)


def test_a_root_that_is_not_to_be_entered_by_others_is_kept_so(
    public: Path, store: Path, caller: Caller
) -> None:
    image = _image(public, "none", directory("./", mode=0o711))
    result = run_pyrun(image, "stat", "-c", "%a", "/", store=store, caller=caller)
    assert result == Result(0, "711\n", "")
