"""`pybuild lock`, and builds that obey a lock file: with real packages, keys and repositories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildkit.bootstrap.openpgp import fingerprints
from tests.buildkit.bootstraps import fails
from tests.buildkit.conftest import new_room, pybuild_of
from tests.buildkit.support import Pybuild, mounts
from tests.buildkit.web import running_site
from tests.support import Caller

pytestmark = pytest.mark.needs_program("dnf", "rpm")

FLAGS = "--releasever=1 --repo=id=hello,url=repo --key=RPM-GPG-KEY-hello"
SYSTEM = f"FROM scratch AS base\nBOOTSTRAP {FLAGS} hello-system hello-release busybox\n"
NAME = "base/0/x86_64"


def _room(pybuild: Pybuild, repository: Path) -> Pybuild:
    shutil.copytree(repository / "repo", pybuild.context / "repo")
    shutil.copy2(repository / "RPM-GPG-KEY-hello", pybuild.context)
    return pybuild


@pytest.fixture
def room(pybuild: Pybuild, hello_repository: Path) -> Pybuild:
    """A context with the repository of the example hello."""
    return _room(pybuild, hello_repository)


@pytest.fixture
def locked(room: Pybuild) -> Pybuild:
    """The same, with a lock file for SYSTEM."""
    _lock(room)
    return room


def _lock(pybuild: Pybuild, *arguments: str | Path, text: str = SYSTEM) -> str:
    pybuild.write(text)
    ended = pybuild.run("lock", *arguments, pybuild.context)
    assert ended.status == 0, ended.stderr
    return ended.stderr


def _file(pybuild: Pybuild) -> Path:
    return pybuild.context / "pybuild.lock"


def _change(pybuild: Pybuild, change: Callable[[Any], None]) -> None:
    """Change the lock file's only entry."""
    document = json.loads(_file(pybuild).read_text())
    [entry] = document["bootstraps"].values()
    change(entry)
    _file(pybuild).write_text(json.dumps(document))


def _fails(
    pybuild: Pybuild, *arguments: str, text: str = SYSTEM, status: int = 1, cached: bool = False
) -> str:
    """What a build says that fails; without the cache if not `cached`."""
    pybuild.output.unlink(missing_ok=True)
    words = arguments if cached else ("--no-cache", *arguments)
    return fails(pybuild, text, status, arguments=words).stderr


def _hide_repodata(pybuild: Pybuild) -> None:
    shutil.rmtree(pybuild.context / "repo/repodata")


def _without_dnf(directory: Path) -> dict[str, str]:
    """A PATH with all that a build needs but dnf."""
    directory.mkdir()
    for folder in ("/usr/sbin", "/usr/bin"):
        for name in os.listdir(folder):
            if not name.startswith("dnf") and not (directory / name).is_symlink():
                (directory / name).symlink_to(f"{folder}/{name}")
    return {"PATH": str(directory)}


def test_a_lock_file_has_one_package_on_a_line_and_no_place_of_this_machine(
    locked: Pybuild,
) -> None:
    text = _file(locked).read_text()
    entry = json.loads(text)["bootstraps"][NAME]
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
    for package in entry["packages"]:
        assert json.dumps(package, sort_keys=True) in lines
    assert {p["nevra"].split("-")[0] for p in entry["packages"]} == {"busybox", "hello"}
    assert entry["repos"]["hello"]["baseurl"] == ["repo"]
    assert str(locked.directory) not in text


def test_a_lock_file_is_the_same_in_every_checkout_and_for_every_user(
    public_root: Path, hello_repository: Path, user: Caller
) -> None:
    texts = set()
    for who in ("root", "user", "plain_container"):
        with new_room(public_root) as place:
            pybuild = _room(pybuild_of(place, who, user), hello_repository)
            os.chown(pybuild.context, pybuild.caller.uid, pybuild.caller.gid)
            _lock(pybuild)
            texts.add(_file(pybuild).read_text())
    assert len(texts) == 1


def test_a_locked_build_needs_neither_dnf_nor_metadata_and_gives_the_same_layer(
    locked: Pybuild, tmp_path: Path
) -> None:
    layer = json.loads(_file(locked).read_text())["bootstraps"][NAME]["result"]
    _hide_repodata(locked)
    env = _without_dnf(tmp_path / "bin")
    image = locked.build(SYSTEM, "--no-cache", "--locked", env=env)
    assert image.config["rootfs"]["diff_ids"] == [layer]


def test_a_build_after_lock_installs_nothing(locked: Pybuild) -> None:
    assert "their layer is there" in locked.try_build(SYSTEM).stderr
    assert locked.steps(SYSTEM) == ["CACHED"]


def test_what_was_built_unlocked_is_what_a_locked_build_takes(room: Pybuild) -> None:
    room.build(SYSTEM)
    said = _lock(room)
    assert "their layer is there" in said


@pytest.mark.parametrize("flag", ["", "--locked"])
def test_another_bootstrap_than_the_locked_one_is_an_error_that_says_what_is_other(
    locked: Pybuild, flag: str
) -> None:
    for new, topic in {
        SYSTEM.replace(" busybox", ""): "other packages",
        SYSTEM.replace("--releasever=1", "--releasever=2"): "other releasever",
        SYSTEM.replace("BOOTSTRAP", "BOOTSTRAP --docs"): "other docs",
        SYSTEM.replace("id=hello,", "id=other,"): "other keys, repositories",
    }.items():
        said = _fails(locked, *filter(None, [flag]), text=new)
        assert f"pybuild.lock was made for another BOOTSTRAP: {topic}" in said
        assert "Containerfile:2:1: " in said


def test_no_lock_installs_what_the_repositories_have(locked: Pybuild) -> None:
    locked.build(SYSTEM.replace(" busybox", ""), "--no-lock")


def test_a_lock_file_that_is_wanted_must_be_there(room: Pybuild) -> None:
    said = _fails(room, "--locked")
    assert f"lock file {room.context}/pybuild.lock: not there" in said
    assert "hint: `pybuild lock` makes it" in said


def test_a_bootstrap_that_the_lock_file_does_not_have_is_an_error(locked: Pybuild) -> None:
    said = _fails(locked, text=SYSTEM.replace("AS base", "AS other"))
    assert "pybuild.lock does not have other/0/x86_64" in said


def test_a_package_that_is_another_file_is_named(locked: Pybuild) -> None:
    [package] = (locked.context / "repo").glob("busybox*.rpm")
    with open(package, "r+b") as file:
        file.seek(2000)
        file.write(b"xx")
    said = _fails(locked)
    assert "package busybox-" in said
    assert "is not the one that" in said
    assert "pybuild.lock promises" in said


def test_a_lock_file_that_promises_another_digest_is_refused(locked: Pybuild) -> None:
    def change(entry: Any) -> None:
        entry["packages"][0]["sha256"] = "0" * 64

    _change(locked, change)
    assert "pybuild.lock promises" in _fails(locked)


def test_a_lock_file_with_another_key_is_refused(locked: Pybuild, tiny_repository: Path) -> None:
    other = (tiny_repository / "RPM-GPG-KEY-test").read_text()

    def change(entry: Any) -> None:
        entry["keys"] = dict.fromkeys(entry["keys"], other)

    _change(locked, change)
    said = _fails(locked)
    assert "pybuild.lock: base/0/x86_64: the key " in said
    assert " is another one: " in said


def test_a_lock_file_cannot_bring_a_key_of_its_own(locked: Pybuild, tiny_repository: Path) -> None:
    """One that is all right in itself: fingerprint, key and the repository's list agree."""
    content = (tiny_repository / "RPM-GPG-KEY-test").read_text()
    [fingerprint] = fingerprints(content.encode())

    def change(entry: Any) -> None:
        entry["keys"] = {fingerprint: content}
        entry["repos"]["hello"]["keys"] = [fingerprint]

    _change(locked, change)
    said = _fails(locked)
    assert "pybuild.lock: base/0/x86_64: repository 'hello' has other keys than" in said
    assert fingerprint in said


def test_a_lock_file_cannot_do_without_keys(locked: Pybuild) -> None:
    def change(entry: Any) -> None:
        entry["keys"], entry["repos"]["hello"]["keys"] = {}, []

    _change(locked, change)
    assert "other keys than BOOTSTRAP names: none" in _fails(locked)


def test_a_lock_file_cannot_add_a_repository(locked: Pybuild) -> None:
    def change(entry: Any) -> None:
        entry["repos"]["evil"] = {"baseurl": ["repo"], "keys": [], "repomd": ""}
        entry["packages"][0]["repo"] = "evil"

    _change(locked, change)
    assert "no --repo gives a repository 'evil'" in _fails(locked)


def test_a_lock_file_cannot_call_a_package_one_of_the_context(locked: Pybuild) -> None:
    def change(entry: Any) -> None:
        entry["packages"][0]["repo"] = ""
        entry["packages"][0]["path"] = str(locked.context / "repo")

    _change(locked, change)
    assert "BOOTSTRAP names no file that is package busybox-" in _fails(locked)


def test_a_pinned_key_of_a_server_is_that_of_the_lock_file(
    room: Pybuild, hello_repository: Path
) -> None:
    content = (hello_repository / "RPM-GPG-KEY-hello").read_bytes()
    [pin] = fingerprints(content)
    with running_site() as site:
        site.files["/key"] = content
        text = SYSTEM.replace("RPM-GPG-KEY-hello", f"{site.url}/key#{pin}")
        _lock(room, text=text)
        room.build(text, "--locked", "--no-cache")
        other = text.replace(pin, pin[::-1])
        assert "has other keys than BOOTSTRAP names" in _fails(room, "--locked", text=other)


def test_packages_are_checked_with_the_keys_of_the_lock_file(
    locked: Pybuild, tiny_repository: Path
) -> None:
    """A key that is consistent in file and lock, but signed nothing of this."""
    other = tiny_repository / "RPM-GPG-KEY-test"
    shutil.copy2(other, locked.context / "RPM-GPG-KEY-hello")
    said = locked.run("lock", locked.context)
    assert said.status == 1
    assert "is signed with another key than the given ones" in said.stderr


def test_a_result_that_is_not_the_locked_one_is_an_error(locked: Pybuild) -> None:
    def change(entry: Any) -> None:
        entry["result"] = f"sha256:{'1' * 64}"

    _change(locked, change)
    said = _fails(locked)
    assert "pybuild.lock says sha256:1111" in said
    ended = locked.try_build(SYSTEM)  # nor is what the cache holds
    assert ended.status == 1, ended.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a lock file"),
        ("{", "not a lock file"),
        ("[]", "a lock file of version None, not 1"),
        ('{"version": 7}', "a lock file of version 7, not 1"),
        ('{"version": 1}', "not a lock file"),
        ('{"version": 1, "bootstraps": {"base/0/x86_64": {}}}', "not a set of packages"),
        ('{"version": 1, "bootstraps": {"base/0/x86_64": 7}}', "not a"),
    ],
)
def test_a_damaged_lock_file_is_one_error(room: Pybuild, content: str, message: str) -> None:
    _file(room).write_text(content)
    said = _fails(room)
    assert message in said
    assert "pybuild.lock" in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nevra", "../x-1-1.noarch"),
        ("sha256", "zz"),
        ("path", "../../etc/passwd"),
        ("size", -1),
        ("size", "1"),
        ("buildtime", True),
        ("repo", "nowhere"),
    ],
)
def test_a_field_that_cannot_be_is_named(locked: Pybuild, field: str, value: object) -> None:
    def change(entry: Any) -> None:
        entry["packages"][0][field] = value

    _change(locked, change)
    said = _fails(locked)
    assert "pybuild.lock: base/0/x86_64: package " in said
    assert field in said or "no repository" in said


def test_vendored_packages_replace_a_repository_that_is_gone(locked: Pybuild) -> None:
    _lock(locked, "--vendor", locked.context / "vendor")
    assert json.loads(_file(locked).read_text())["vendor"] == "vendor"
    shutil.rmtree(locked.context / "repo")
    shutil.rmtree(locked.store)
    image = locked.build(SYSTEM, "--locked")
    assert "usr/bin/busybox" in image.files


def test_a_locked_package_that_is_nowhere_is_named_at_its_repository(locked: Pybuild) -> None:
    shutil.rmtree(locked.context / "repo")
    shutil.rmtree(locked.store)
    said = fails(locked, SYSTEM, 4, "Containerfile:2:33:", "package busybox-", arguments=("-q",))
    assert f": no {locked.context}/repo/busybox-" in said.stderr


def test_a_vendored_package_that_was_changed_is_named(locked: Pybuild) -> None:
    _lock(locked, "--vendor", locked.context / "vendor")
    [package] = (locked.context / "vendor").rglob("busybox*.rpm")
    package.write_bytes(b"other")
    shutil.rmtree(locked.store)
    assert "package busybox-" in _fails(locked)


def test_one_package_is_updated_and_the_others_stay(
    pybuild: Pybuild, tiny_repository: Path
) -> None:
    pybuild.add({"key": (tiny_repository / "RPM-GPG-KEY-test").read_bytes()})
    shutil.copytree(tiny_repository / "repo", pybuild.context / "repo")
    both = "--repo=id=test,url=repo --repo=id=more,url=more --key=key"
    text = f"FROM scratch AS base\nBOOTSTRAP {both} --releasever=24 hello hello-daemon\n"
    shutil.copytree(tiny_repository / "repo", pybuild.context / "more")  # no updates yet
    _lock(pybuild, text=text)
    shutil.rmtree(pybuild.context / "more")
    shutil.copytree(tiny_repository / "updates", pybuild.context / "more")

    def versions() -> dict[str, str]:
        entry = json.loads(_file(pybuild).read_text())["bootstraps"][NAME]
        return {p["nevra"].split("-0:")[0]: p["nevra"] for p in entry["packages"]}

    assert versions()["hello-daemon"] == "hello-daemon-0:1.0-1.noarch"
    assert pybuild.try_build(text).status == 0  # what is locked is still to be had
    said = _lock(pybuild, "--update", "hello-daemon", text=text)
    assert "+hello-daemon-0:2.0-1.noarch -hello-daemon-0:1.0-1.noarch" in said
    assert versions()["hello"] == "hello-0:1.0-1.x86_64"
    _lock(pybuild, text=text)
    assert versions()["hello"] == "hello-0:2.0-1.x86_64"


def test_an_update_of_what_is_not_locked_is_an_error(locked: Pybuild) -> None:
    ended = locked.run("lock", "--update=nothing", locked.context)
    assert ended.status == 2
    assert "--update nothing: no such package in" in ended.stderr


def test_a_containerfile_without_bootstrap_has_nothing_to_lock(pybuild: Pybuild) -> None:
    pybuild.write("FROM scratch\nCOPY . /\n")
    ended = pybuild.run("lock", pybuild.context)
    assert ended.status == 1
    assert "there is no BOOTSTRAP to lock" in ended.stderr
    assert not _file(pybuild).exists()


def test_two_bootstraps_of_a_stage_and_one_of_another_are_locked_in_one_file(
    room: Pybuild,
) -> None:
    text = f"""\
FROM scratch AS base
BOOTSTRAP {FLAGS} hello-system hello-release
COPY repo/repodata/repomd.xml /between
BOOTSTRAP {FLAGS} busybox
FROM scratch AS tool
BOOTSTRAP {FLAGS} busybox
FROM base
COPY --from=tool /usr/bin/busybox /copied
"""
    _lock(room, text=text)
    entries = json.loads(_file(room).read_text())["bootstraps"]
    assert sorted(entries) == ["base/0/x86_64", "base/1/x86_64", "tool/0/x86_64"]
    assert len(entries["base/1/x86_64"]["packages"]) == 1
    assert "copied" in room.build(text, "--locked").files


@pytest.mark.parametrize(
    "moments", [8, pytest.param(80, marks=pytest.mark.slow)], ids=["eight", "eighty"]
)
def test_killed_at_any_moment_lock_leaves_the_old_file_or_the_new_one(
    locked: Pybuild, moments: int
) -> None:
    """Each kill comes a little later than the one before, over the time that one run takes."""
    rpms = locked.context / "rpms"
    lock = ("lock", "--no-cache", "--vendor", rpms)
    old = _file(locked).read_bytes()
    began = time.monotonic()
    _lock(locked, *lock[1:])
    length_s = time.monotonic() - began
    new, packages = _file(locked).read_bytes(), _contents(rpms)
    assert old != new
    cut = 0
    for number in range(1, moments + 1):
        shutil.rmtree(rpms, ignore_errors=True)
        _file(locked).write_bytes(old)
        process = locked.start(SYSTEM, *lock)
        try:
            process.wait(length_s * 1.1 * number / moments)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            cut += 1
        assert _file(locked).read_bytes() in (old, new)
        assert len(list(locked.context.glob("pybuild.lock*"))) == 1
        assert _contents(rpms).items() <= packages.items()
    assert cut >= moments / 2
    _lock(locked, *lock[1:])
    assert (_file(locked).read_bytes(), _contents(rpms)) == (new, packages)
    assert os.listdir(locked.store / "tmp") == []
    assert mounts(locked.directory) == []


def _contents(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_a_lock_file_of_the_instruction_is_used_and_off_uses_none(room: Pybuild) -> None:
    own = SYSTEM.replace("BOOTSTRAP", "BOOTSTRAP --lock=deep/own.lock")
    (room.context / "deep").mkdir()
    os.chown(room.context / "deep", room.caller.uid, room.caller.gid)
    _lock(room, text=own)
    assert not _file(room).exists()
    room.build(own, "--locked")
    (room.context / "deep/own.lock").unlink()
    assert "deep/own.lock: not there" in _fails(room, text=own, cached=True)
    room.build(SYSTEM.replace("BOOTSTRAP", "BOOTSTRAP --lock=off"), "--locked")


def test_a_package_of_the_context_is_locked_by_its_content(
    room: Pybuild, hello_repository: Path
) -> None:
    [package] = (hello_repository / "repo").glob("busybox*.rpm")
    (room.context / "dist").mkdir()
    shutil.copy2(package, room.context / "dist/busybox.rpm")
    text = SYSTEM.replace(" busybox", " ./dist/busybox.rpm")
    _lock(room, text=text)
    assert '"path": "dist/busybox.rpm"' in _file(room).read_text()
    room.build(text, "--locked", "--no-cache")
    with open(room.context / "dist/busybox.rpm", "ab") as file:
        file.write(b"more")
    room.output.unlink()
    assert "made for another BOOTSTRAP: other packages" in _fails(room, text=text)


def test_a_file_that_cannot_be_written_is_one_error_and_the_old_one_stays(
    locked: Pybuild, as_user: Pybuild
) -> None:
    ended = locked.run("lock", "--lockfile=/dev/null/x", locked.context)
    assert ended.status != 0
    assert "/dev/null/x" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--locked", "--no-lock"],
        ["lock", "--locked"],
        ["lock", "-t", "x"],
        ["--update", "x"],
        ["--vendor", "x"],
        ["--arch", "x86_64"],
    ],
)
def test_options_that_contradict_each_other_are_refused(
    room: Pybuild, arguments: list[str]
) -> None:
    room.write(SYSTEM)
    ended = room.run(*arguments, room.context)
    assert ended.status == 2, ended.stderr


def test_a_lock_file_that_appears_is_seen_by_a_recorded_build(room: Pybuild) -> None:
    room.build(SYSTEM)
    _file(room).write_text("{}")
    assert "a lock file of version None" in _fails(room, text=SYSTEM, cached=True)


def test_two_containerfiles_of_a_directory_have_a_lock_file_each(room: Pybuild) -> None:
    (room.context / "other.Containerfile").write_text(SYSTEM.replace(" busybox", ""))
    _lock(room)
    ended = room.run("lock", "-f", room.context / "other.Containerfile", room.context)
    assert ended.status == 0, ended.stderr
    assert (room.context / "other.Containerfile.lock").exists()
    assert "busybox" in _file(room).read_text()


def test_a_locked_build_asks_no_server_but_for_packages_that_are_missing(
    room: Pybuild, hello_repository: Path
) -> None:
    with running_site() as site:
        site.add(hello_repository / "repo")
        site.files["/key"] = (hello_repository / "RPM-GPG-KEY-hello").read_bytes()
        where = f"--repo=id=hello,url={site.url} --key={site.url}/key"
        text = f"FROM scratch AS base\nBOOTSTRAP --releasever=1 {where} hello-system busybox\n"
        _lock(room, text=text)
        site.requests.clear()
        room.build(text, "--locked", "--no-cache")
        assert site.requests == []
        shutil.rmtree(room.store)
        room.build(text, "--locked")
        assert all(request.path.endswith(".rpm") for request in site.requests)
    assert "other keys" in _fails(room, text=text.replace("/key ", "/other "), cached=True)
