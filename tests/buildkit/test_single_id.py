"""A user with a single id installs packages whose files belong to others.

What is claimed is most often that the layer is root's, byte by byte: whatever an owner, a mode, a
capability or a time would be wrong in.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.buildkit.owned_packages import make_repository
from tests.buildkit.support import Image, Pybuild, modes, mounts, processes
from tests.support import Result

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_userns,
    pytest.mark.needs_program("dnf", "rpm"),
]

FLAGS = "--releasever=1 --nogpgcheck --repo=id=hello,url=repo --repo=id=owned,url=owned"
SYSTEM = f"FROM scratch\nBOOTSTRAP {FLAGS} hello-system busybox"


@pytest.fixture(scope="module")
def owned_repository(public_root: Path) -> Path:
    """Packages with many owners."""
    path = public_root / "owned"
    make_repository(path)
    return path / "repo"


@pytest.fixture(autouse=True)
def _repositories(
    hello_repository: Path, owned_repository: Path, as_root: Pybuild, as_lone_user: Pybuild
) -> None:
    for pybuild in (as_root, as_lone_user):
        shutil.copytree(hello_repository / "repo", pybuild.context / "repo")
        shutil.copytree(owned_repository, pybuild.context / "owned")


ISOLATIONS = pytest.mark.parametrize("isolation", ["namespaces", "chroot"])


def _both(
    as_root: Pybuild, as_lone_user: Pybuild, text: str, isolation: str = "namespaces"
) -> Image:
    """Build as root and with a single id; the entries of the layers and their bytes are equal."""
    expected, image = (
        pybuild.build(text, f"--isolation={isolation}") for pybuild in (as_root, as_lone_user)
    )
    for number in range(len(expected.layers)):
        assert _entries(image, number) == _entries(expected, number)
    assert image.layers == expected.layers
    return image


def _entries(image: Image, number: int) -> dict[str, list[object]]:
    fields = "type mode uid gid size mtime linkname pax_headers".split()
    return {n: [getattr(i, field) for field in fields] for n, i in image.layer(number).items()}


def test_files_of_packages_and_scriptlets_belong_to_whom_root_gave_them(
    as_root: Pybuild, as_lone_user: Pybuild
) -> None:
    image = _both(as_root, as_lone_user, f"{SYSTEM} owned\n")
    found = {name: said.split()[0] for name, said in modes(image).items()}
    owners = {
        name: found[f"srv/{name}"]
        for name in (
            "packaged/file packaged/group-only packaged/back-to-root packaged/to-another "
            "packaged/replaced packaged/link made/file made/link made/fifo made/dir "
            "one group both by-link to-it dangling above rooted renamed gone late many-100 large "
            "set-gid set-gid/new set-gid/dir/new set-gid/root"
        ).split()
    }
    assert owners == {
        "packaged/file": "300:300",
        "packaged/group-only": "0:300",
        "packaged/back-to-root": "0:0",
        "packaged/to-another": "317:318",
        "packaged/replaced": "300:0",
        "packaged/link": "300:300",
        "made/file": "300:300",
        "made/link": "300:300",
        "made/fifo": "300:300",
        "made/dir": "300:300",
        "one": "301:0",
        "group": "0:302",
        "both": "303:304",
        "by-link": "304:0",
        "to-it": "0:0",
        "dangling": "306:307",
        "above": "308:0",
        "rooted": "309:0",
        "renamed": "310:0",
        "gone": "0:0",
        "late": "316:0",
        "many-100": "1100:0",
        "set-gid": "0:300",
        "set-gid/new": "0:300",
        "set-gid/dir/new": "0:300",
        "set-gid/root": "0:0",
        "large": "70000:4000000000",
    }


@ISOLATIONS
def test_later_layers_keep_the_owners_of_the_layers_below(
    as_root: Pybuild, as_lone_user: Pybuild, isolation: str
) -> None:
    more = f"BOOTSTRAP {FLAGS} more\n"
    run = "RUN cd /srv && echo 3 >> made/file && chmod 700 packaged/dir && "
    run += "touch made/dir/newer set-gid/run\n"
    copy = "COPY owned/repodata/repomd.xml /srv/packaged/dir/\n"
    image = _both(as_root, as_lone_user, f"{SYSTEM} owned\n{more}{run}{copy}", isolation)
    layers = [image.layer(number) for number in range(1, 4)]
    found = [{n: f"{i.uid}:{i.gid}" for n, i in layer.items()} for layer in layers]
    assert found[0]["srv/made/file"] == "300:300"
    assert found[0]["srv/packaged/group-only"] == "400:300"
    assert found[0]["srv/packaged/replaced"] == "300:0"
    assert found[0]["srv/packaged/more"] == "400:300"
    assert found[0]["srv/one"] == "301:0"
    assert found[0]["srv/both"] == "0:0"
    assert found[0]["srv/dangling"] == "306:307"
    assert found[0]["srv/pipe"] == "305:306"
    assert "srv/group" not in found[0]
    assert found[1]["srv/made/file"] == "300:300"
    assert found[2]["srv/packaged/dir"] == "300:300"


@ISOLATIONS
def test_layers_whose_directories_were_lost_keep_their_owners(
    as_root: Pybuild, as_lone_user: Pybuild, isolation: str
) -> None:
    text = f"{SYSTEM} owned\nCOPY --chown=7:8 busybox /srv/copied/\n"
    for pybuild in (as_root, as_lone_user):
        pybuild.build(text)
        shutil.rmtree(pybuild.store / "layers")
        (pybuild.store / "layers").mkdir()
        os.chown(pybuild.store / "layers", pybuild.caller.uid, pybuild.caller.gid)
    run = "RUN cd /srv && echo 3 >> made/file && touch -h dangling && echo >> copied/busybox\n"
    image = _both(as_root, as_lone_user, text + run, isolation)
    found = {n: f"{i.uid}:{i.gid}" for n, i in image.layer(2).items()}
    assert found["srv/made/file"] == "300:300"
    assert found["srv/dangling"] == "306:307"
    assert found["srv/copied/busybox"] == "7:8"


def test_copies_between_stages_belong_to_whom_the_files_did(
    as_root: Pybuild, as_lone_user: Pybuild
) -> None:
    text = f"{SYSTEM} owned\n".replace("scratch", "scratch AS system")
    text += "FROM system AS next\nCOPY --from=system --chown=worker:root /srv/one /etc/\n"
    text += "FROM scratch\nCOPY --from=next /etc/one /srv/made/file /srv/group /\n"
    image = _both(as_root, as_lone_user, text)
    owners = {name: said.split()[0] for name, said in modes(image).items()}
    assert owners == {"one": "300:0", "file": "300:300", "group": "0:302"}


def test_root_and_users_with_many_ids_and_with_one_make_the_same_image(
    as_root: Pybuild, as_user: Pybuild, as_lone_user: Pybuild, tiny_repository: Path
) -> None:
    repository = f"--repo=id=t,url=file://{tiny_repository}/repo --nogpgcheck --releasever=24"
    text = f"FROM scratch\nBOOTSTRAP {repository} hello hello-daemon\n"
    images = [pybuild.build(text) for pybuild in (as_root, as_user, as_lone_user)]
    assert len({pybuild.output.read_bytes() for pybuild in (as_root, as_user, as_lone_user)}) == 1
    files = images[2].files
    assert files["usr/bin/hello-setuid"].mode == 0o4755
    assert "SCHILY.xattr.security.capability" in files["usr/bin/hello-caps"].pax_headers
    assert files["var/lib/hello-daemon"].uid == files["var/lib/hello-daemon"].gid != 0


# --- What is not known

# As in a container of some engines: somebody listens already, and the kernel refuses a second one.
_LISTENED = """
import os, sys
from runtime.sandbox.syscalls import prctl, PR_SET_NO_NEW_PRIVS
from runtime.seccomp.load import filter_call
prctl(PR_SET_NO_NEW_PRIVS, 1)
allow_all = (6).to_bytes(2, "little") + bytes(2) + 0x7fff0000.to_bytes(4, "little")
os.set_inheritable(filter_call(allow_all, 1 << 3)(), True)
os.execv(sys.argv[1], sys.argv[1:])
"""


def _unheard(pybuild: Pybuild) -> Pybuild:
    return dataclasses.replace(pybuild, launcher=(sys.executable, "-c", _LISTENED))


def test_where_nothing_can_be_followed_the_database_says_whose_files_are(
    as_root: Pybuild, as_lone_user: Pybuild
) -> None:
    text = f"{SYSTEM} plain\n"
    expected, blind = as_root.build(text), _unheard(as_lone_user).build(text)
    assert blind.layers == expected.layers


def test_scriptlets_that_cannot_be_followed_are_named(as_lone_user: Pybuild) -> None:
    ended = _unheard(as_lone_user).try_build(f"{SYSTEM} owned\n")
    _refused(as_lone_user, ended, "scriptlets of owned change owners of files")


def test_a_file_that_cannot_be_told_is_named(as_lone_user: Pybuild) -> None:
    ended = as_lone_user.try_build(f"{SYSTEM} hiding\n")
    _refused(as_lone_user, ended, "owner of a file is not known: /srv/by-proc was given to 5")


def _refused(pybuild: Pybuild, ended: Result, words: str) -> None:
    assert ended.status == 1, ended.stderr
    assert words in ended.stderr
    assert "Containerfile:2:1:" in ended.stderr
    assert "hint: subordinate ids" in ended.stderr
    assert not pybuild.output.exists()
    assert os.listdir(pybuild.store / "layers") == []


# --- Stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_scriptlet_that_is_stopped_while_it_gives_files_away_leaves_nothing(
    as_lone_user: Pybuild, number: int
) -> None:
    process = as_lone_user.start(f"{SYSTEM} slow\n")
    until = time.monotonic() + 30
    while not any("rpm-tmp" in line for line in processes(as_lone_user.store)):
        assert process.poll() is None, as_lone_user.log
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid, number)
    assert process.wait(10) != 0
    until = time.monotonic() + 20  # a killed process is collected by whoever inherits it
    while processes(as_lone_user.directory) and time.monotonic() < until:
        time.sleep(0.02)
    assert processes(as_lone_user.directory) == []
    assert mounts(as_lone_user.directory) == []
    assert "Traceback" not in as_lone_user.log
    assert as_lone_user.try_build(f"{SYSTEM}\n").status == 0
    assert os.listdir(as_lone_user.store / "tmp") == []
