"""-v: files and directories of the host inside the container, read-only for good or writable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import Caller, Result, command, environment, make_tree, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Shell = Callable[..., Result]


@pytest.fixture
def folder(public: Path) -> Path:
    """A directory that everybody may write to."""
    path = make_tree(public / "a folder", {"file": "host", "sub/file": "host"})
    for place in (path, path / "file", path / "sub", path / "sub/file"):
        place.chmod(0o777)
    return path


def test_a_writable_volume_writes_through(folder: Path, shell: Shell) -> None:
    assert shell("cat /v/file; echo new > /v/new", "-v", f"{folder}:/v").stdout == "host"
    assert (folder / "new").read_text() == "new\n"


def test_a_read_only_volume_cannot_be_written(folder: Path, shell: Shell) -> None:
    script = "cat /v/file; echo x > /v/new; echo x > /v/file; rm /v/file; chmod 0 /v/sub"
    result = shell(script, "-v", f"{folder}:/v:ro")
    assert result.stdout == "host"
    assert result.stderr.count("Read-only file system") == 4
    assert (folder / "file").read_text() == "host"


def test_a_read_only_volume_cannot_be_remounted(folder: Path, shell: Shell) -> None:
    script = "mount -o remount,rw,bind /v; echo x > /v/new"
    assert "Read-only file system" in shell(script, "-v", f"{folder}:/v:ro").stderr
    assert not (folder / "new").exists()


@pytest.mark.needs_root
@pytest.mark.parametrize("caller", ["root"], indirect=True)
def test_mounts_below_a_read_only_volume_are_read_only_too(
    folder: Path, busybox: Path, store: Path, caller: Caller
) -> None:
    script = 'mount -t tmpfs none "$0/sub" && echo below > "$0/sub/x" && exec "$@"'
    inside = "cat /v/sub/x; echo x > /v/sub/new"
    pyrun = [*command("pyrun"), "-v", f"{folder}:/v:ro", str(busybox), "sh", "-c", inside]
    argv = ["unshare", "--mount", "sh", "-c", script, str(folder), *pyrun]
    result = run(argv, env=environment(caller, PYBUILD_ROOT=str(store)))
    assert result.stdout == "below\n"
    assert "Read-only file system" in result.stderr


def test_a_file_can_be_a_volume_where_no_file_was(folder: Path, shell: Shell) -> None:
    result = shell("cat /made/for/it; stat -c %F /made/for", "-v", f"{folder}/file:/made/for/it")
    assert result.stdout == "hostdirectory\n"


def test_a_volume_covers_a_file_of_the_image(folder: Path, shell: Shell) -> None:
    assert shell("cat /etc/passwd", "-v", f"{folder}/file:/etc/passwd:ro").stdout == "host"


def test_a_volume_may_lie_in_another(folder: Path, public: Path, shell: Shell) -> None:
    other = make_tree(public / "other", {"file": "other"})
    result = shell("cat /v/sub/file", "-v", f"{folder}:/v", "-v", f"{other}:/v/sub")
    assert result.stdout == "other"
    assert (folder / "sub/file").read_text() == "host"


def test_a_missing_source_is_an_error(public: Path, shell: Shell) -> None:
    result = shell("echo ran", "-v", f"{public}/missing:/v")
    assert (result.status, result.stdout) == (125, "")
    assert f"{public}/missing does not exist" in result.stderr
    assert not (public / "missing").exists()


def test_a_relative_source_is_the_callers(folder: Path, shell: Shell) -> None:
    assert shell("cat /v/file", "-v", ".:/v", cwd=folder).stdout == "host"


def test_a_destination_through_a_symlink_of_the_image_stays_inside(
    folder: Path, public: Path, store: Path, caller: Caller
) -> None:
    from tests.support import busybox_layer, make_image, run_pyrun, symlink, tree_state

    outside = make_tree(public / "outside", {"file": "outside"})
    outside.chmod(0o777)
    before = tree_state(outside)
    layer = [*busybox_layer(), symlink("out", f"../../../..{outside}")]
    image = make_image(public / "i.tar", [layer])
    result = run_pyrun(
        "-v", f"{folder}:/out/v", image, "/bin/cat", "/out/v/file", store=store, caller=caller
    )
    assert tree_state(outside) == before
    assert result.status in (0, 125)
    assert result.stdout in ("host", "")


@pytest.mark.parametrize("place", ["/proc", "/proc/self", "/proc/sys/kernel", "/./proc/"])
def test_a_volume_over_proc_is_refused(place: str, folder: Path, shell: Shell) -> None:
    # Masks and checks would look at the volume's files (CVE-2019-16884, CVE-2023-28642).
    result = shell("echo ran", "-v", f"{folder}:{place}")
    assert (result.status, result.stdout) == (125, "")
    assert "/proc" in result.stderr


def test_the_volumes_owner_and_mode_stay(folder: Path, shell: Shell) -> None:
    before = os.stat(folder)
    shell("true", "-v", f"{folder}:/v")
    after = os.stat(folder)
    assert after.st_mode == before.st_mode
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
