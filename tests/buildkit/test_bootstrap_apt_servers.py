"""BOOTSTRAP --manager=apt from servers: what is fetched, who is trusted, what stays secret."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.buildkit.bootstraps import fails_and_leaves_nothing, is_nowhere
from tests.buildkit.debian_mirror import add_mirror
from tests.buildkit.support import Pybuild
from tests.buildkit.web import Site, running_site

pytestmark = pytest.mark.needs_program("apt-get", "mmdebstrap", "dpkg-deb", "gpg", "gpgv")

PASSWORD = "correct-horse"


def _bootstrap(url: str) -> str:
    repository = f"--repo=id=debian,url={url}/debian,suite=bookworm --key=archive.asc"
    return f"FROM scratch\nBOOTSTRAP --manager=apt {repository} greeting\n"


@pytest.fixture(scope="session")
def mirrored(debian_mirror: Path) -> dict[str, bytes]:
    """The mirror's files by the paths that a server has them at."""
    root = debian_mirror / "debian"
    return {
        quote(f"/debian/{path.relative_to(root)}"): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def site(mirrored: dict[str, bytes], pybuild: Pybuild, debian_mirror: Path) -> Iterator[Site]:
    """The mirror on a server; its key is in the context."""
    add_mirror(pybuild, debian_mirror)
    with running_site() as made:
        made.files = dict(mirrored)
        yield made


@pytest.fixture
def secure(
    mirrored: dict[str, bytes], pybuild: Pybuild, debian_mirror: Path, authority: Path
) -> Iterator[Site]:
    """The same with a certificate of a CA that nobody knows."""
    add_mirror(pybuild, debian_mirror)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    with running_site(context) as made:
        made.files = dict(mirrored)
        yield made


def test_packages_of_a_server_are_fetched_once_and_kept(pybuild: Pybuild, site: Site) -> None:
    [gone] = [path for path in site.files if "/greeting_" in path]
    del site.files[gone]
    for _ in range(2):  # the second has what the first has fetched
        fails_and_leaves_nothing(
            pybuild, _bootstrap(site.url), 4, "Containerfile:2:32:", "package greeting_1.0_all: "
        )
    paths = [request.path for request in site.requests if request.path.endswith(".deb")]
    kept = [n for n in os.listdir(pybuild.store / "packages") if n.endswith(".deb")]
    assert len(set(paths)) == len(kept) + 1 > 20
    assert paths.count(gone) == 2
    assert len(paths) == len(set(paths)) + 1


@pytest.mark.needs_program("openssl")
@pytest.mark.parametrize(
    "variable",
    ["SSL_CERT_FILE", pytest.param("REQUESTS_CA_BUNDLE", marks=pytest.mark.slow)],
)
def test_a_corporate_ca_is_trusted(
    pybuild: Pybuild, secure: Site, authority: Path, public: Path, variable: str
) -> None:
    ca = public / "ca.pem"
    shutil.copy2(authority / "ca.pem", ca)
    ca.chmod(0o644)
    image = pybuild.build(_bootstrap(secure.url), env={variable: str(ca)}, timeout_s=180)
    assert "usr/bin/greeting" in image.files


@pytest.mark.needs_program("openssl")
def test_an_unknown_ca_is_status_4_with_a_hint(pybuild: Pybuild, secure: Site) -> None:
    fails_and_leaves_nothing(
        pybuild, _bootstrap(secure.url), 4, "Containerfile:2:32:", "repository 'debian'",
        "certificate verify failed: unable to get local issuer certificate", "hint: ",
    )  # fmt: skip


def test_sources_are_a_secret_with_a_password_that_is_nowhere(
    pybuild: Pybuild, site: Site
) -> None:
    site.demand("me", PASSWORD)
    secret = pybuild.directory / "secret.sources"
    url = site.url.replace("://", f"://me:{PASSWORD}@")
    secret.write_text(f"Types: deb\nURIs: {url}/debian\nSuites: bookworm\nComponents: main\n")
    secret.chmod(0o644)
    text = (
        "FROM scratch\nBOOTSTRAP --manager=apt --mount=type=secret,id=s,target=/s.sources "
        "--repo=/s.sources --key=archive.asc greeting\n"
    )
    given = ("--secret", f"id=s,src={secret}")
    ended = pybuild.try_build(text, *given, timeout_s=180)
    assert ended.status == 0, ended.stderr
    secret.unlink()
    is_nowhere(pybuild, PASSWORD, ended.stderr, ended.stdout)


def test_a_wrong_password_is_status_4_at_the_repository(pybuild: Pybuild, site: Site) -> None:
    site.demand("me", PASSWORD)
    wrong = site.url.replace("://", "://me:wrong-horse@")
    fails_and_leaves_nothing(
        pybuild, _bootstrap(wrong), 4, "Containerfile:2:32:", "repository 'debian'", "401 "
    )
