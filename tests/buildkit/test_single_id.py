"""A user with a single id installs packages whose files belong to others.

What is claimed is most often that the layer is root's, byte by byte: whatever an owner, a mode, a
capability or a time would be wrong in.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.buildkit.owned_packages import make_repository
from tests.buildkit.support import Image, Pybuild, modes

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


def _both(as_root: Pybuild, as_lone_user: Pybuild, text: str) -> Image:
    """Build as root and with a single id; the entries of the layers and their bytes are equal."""
    expected, image = as_root.build(text), as_lone_user.build(text)
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
            "one group both by-link to-it dangling above rooted renamed gone late many-100 large"
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
        "large": "70000:4000000000",
    }


def test_later_layers_keep_the_owners_of_the_layers_below(
    as_root: Pybuild, as_lone_user: Pybuild
) -> None:
    more = f"BOOTSTRAP {FLAGS} more\n"
    run = "RUN cd /srv && echo 3 >> made/file && chmod 700 packaged/dir && touch made/dir/newer\n"
    copy = "COPY owned/repodata/repomd.xml /srv/packaged/dir/\n"
    image = _both(as_root, as_lone_user, f"{SYSTEM} owned\n{more}{run}{copy}")
    layers = [image.layer(number) for number in range(1, 4)]
    found = [{n: f"{i.uid}:{i.gid}" for n, i in layer.items()} for layer in layers]
    assert found[0]["srv/made/file"] == "300:300"
    assert found[0]["srv/packaged/group-only"] == "400:300"
    assert found[0]["srv/packaged/replaced"] == "300:0"
    assert found[0]["srv/packaged/more"] == "400:300"
    assert found[0]["srv/one"] == "301:0"
    assert found[0]["srv/both"] == "0:0"
    assert "srv/group" not in found[0]
    assert found[1]["srv/made/file"] == "300:300"
    assert found[2]["srv/packaged/dir"] == "300:300"
