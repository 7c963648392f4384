"""BOOTSTRAP from real web servers: who asks, by which way, and whom is trusted."""

from __future__ import annotations

import hashlib
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import KEY, fails, installed, is_nowhere, query
from tests.buildkit.support import Image, Pybuild
from tests.buildkit.web import Site, running_site

pytestmark = pytest.mark.needs_program("dnf", "rpm")

PASSWORD = "correct-horse-battery"
TOKEN = "f00dfacecafe4711"


@pytest.fixture
def site(tiny_repository: Path, pybuild: Pybuild) -> Iterator[Site]:
    """A server with the tiny repository below /repo, whose key is in the context."""
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    with running_site() as made:
        made.add(tiny_repository / "repo", "/repo")
        yield made


def _repo_file(url: str, *options: str) -> str:
    return "\n".join(["[tiny]", "name=tiny", f"baseurl={url}", *options, ""])


def _bootstrap(flags: str, packages: str = "hello-libs") -> str:
    return f"FROM scratch\nBOOTSTRAP --key={KEY} \\\n  {flags} {packages}\n"


# --- Credentials


def test_a_repository_file_can_be_a_secret(
    anybody: Pybuild, site: Site, tiny_repository: Path
) -> None:
    shutil.copy2(tiny_repository / KEY, anybody.context)
    site.demand("me", PASSWORD)
    secret = anybody.directory / "secret.repo"
    secret.write_text(_repo_file(f"{site.url}/repo", "username=me", f"password={PASSWORD}"))
    secret.chmod(0o644)
    text = _bootstrap("--mount=type=secret,id=r,target=/r.repo --repo=/r.repo")
    ended = anybody.try_build(text, "--secret", f"id=r,src={secret}")
    assert ended.status == 0, ended.stderr
    is_nowhere(anybody, PASSWORD, ended.stderr, ended.stdout)


@pytest.mark.parametrize("where", ["options", "url"])
def test_a_repository_file_takes_user_and_password_from_secrets(
    pybuild: Pybuild, site: Site, where: str
) -> None:
    site.demand("me", PASSWORD)
    url = f"{site.url}/repo"
    text = _repo_file(url, "username=$USER", "password=${PASS}")
    if where == "url":
        text = _repo_file(url.replace("://", "://$USER:$PASS@"))
    pybuild.add({"r.repo": text})
    mounts = "--mount=type=secret,id=u,env=USER --mount=type=secret,id=p,env=PASS"
    secrets = ("--secret", "id=u,env=A", "--secret", "id=p,env=B")
    env = {"A": "me", "B": PASSWORD}
    ended = pybuild.try_build(_bootstrap(f"{mounts} --repo=r.repo"), *secrets, env=env)
    assert ended.status == 0, ended.stderr
    is_nowhere(pybuild, PASSWORD, ended.stderr, ended.stdout)


def test_a_wrong_password_is_status_4_at_the_repository(pybuild: Pybuild, site: Site) -> None:
    site.demand("me", PASSWORD)
    text = _repo_file(f"{site.url}/repo", "username=me", "password=$PASS")
    pybuild.add({"r.repo": text})
    mount = "--mount=type=secret,id=p,env=PASS"
    ended = fails(
        pybuild, _bootstrap(f"{mount} --repo=r.repo"), 4,
        "Containerfile:3:44:", "repository 'tiny'", "401 Client Error: Unauthorized\n",
        "hint: a --mount=type=secret says who asks",
        arguments=("--secret", "id=p,env=P"), env={"P": "wrong-horse"},
    )  # fmt: skip
    is_nowhere(pybuild, "wrong-horse", ended.stderr)


def test_a_secret_that_is_not_given_is_an_error_at_its_mount(pybuild: Pybuild, site: Site) -> None:
    pybuild.add({"r.repo": _repo_file(f"{site.url}/repo")})
    text = _bootstrap("--mount=type=secret,id=p,env=PASS,required --repo=r.repo")
    fails(pybuild, text, 1, "Containerfile:3:11:", "the secret 'p' is required")


def test_a_token_in_a_path_is_nowhere_and_nowhere_in_errors(pybuild: Pybuild, site: Site) -> None:
    every = {f"/{TOKEN}{path}": content for path, content in site.files.items()}
    pybuild.add({"r.repo": _repo_file(f"{site.url}/$TOKEN/repo")})
    text = _bootstrap("--mount=type=secret,id=t,env=TOKEN --repo=r.repo")
    given = ("--secret", "id=t,env=T")
    # What dnf does not find, then what we do not find, ahead of it and after it.
    for lost in ("primary", "repomd", "hello-libs"):
        site.files = {path: every[path] for path in every if lost not in path}
        ended = fails(pybuild, text, 4, "404", arguments=given, env={"T": TOKEN})
        is_nowhere(pybuild, TOKEN, ended.stderr)
    site.files = every
    ended = pybuild.try_build(text, *given, env={"T": TOKEN})
    assert ended.status == 0, ended.stderr
    is_nowhere(pybuild, TOKEN, ended.stderr)


def test_a_secret_repository_file_has_tokens_in_its_urls(pybuild: Pybuild, site: Site) -> None:
    site.files = {f"/{TOKEN}{path}": content for path, content in site.files.items()}
    secret = pybuild.directory / "secret.repo"
    secret.write_text(_repo_file(f"{site.url}/{TOKEN}/repo"))
    secret.chmod(0o644)
    text = _bootstrap("--mount=type=secret,id=r,target=/r.repo --repo=/r.repo")
    given = ("--secret", f"id=r,src={secret}")
    ended = pybuild.try_build(text, *given)
    assert ended.status == 0, ended.stderr
    is_nowhere(pybuild, TOKEN, ended.stderr)
    assert pybuild.steps(text, *given) in ([], ["CACHED"])


def test_no_name_in_the_store_is_made_of_a_password(pybuild: Pybuild, site: Site) -> None:
    secret = pybuild.directory / "secret.repo"
    text = _bootstrap("--mount=type=secret,id=r,target=/r.repo --repo=/r.repo")
    for password in ("one", "other"):
        secret.write_text(_repo_file(f"{site.url}/repo", "username=me", f"password={password}"))
        ended = pybuild.try_build(text, "--no-cache", "--secret", f"id=r,src={secret}")
        assert ended.status == 0, ended.stderr
    assert len(list((pybuild.store / "dnf").iterdir())) == 1


# --- Proxies


@pytest.fixture
def proxy(tiny_repository: Path) -> Iterator[Site]:
    """A proxy that leads to a server which nobody else can reach: http://far.invalid/repo."""
    with running_site() as made:
        made.add(tiny_repository / "repo", "http://far.invalid/repo")
        yield made


@pytest.mark.parametrize("how", ["environment", "option", "setopt"])
def test_packages_come_by_a_proxy(
    pybuild: Pybuild, tiny_repository: Path, proxy: Site, how: str
) -> None:
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    options = [f"proxy={proxy.url}"] if how == "option" else []
    pybuild.add({"r.repo": _repo_file("http://far.invalid/repo", *options)})
    flags = f"--setopt=proxy={proxy.url}" if how == "setopt" else ""
    env = {"http_proxy": proxy.url} if how == "environment" else {}
    text = _bootstrap(f"{flags} --repo=r.repo")
    assert installed(pybuild.build(text, env=env)) == {"hello-libs"}
    asked = [request.path.rpartition("/")[2] for request in proxy.requests]
    assert {"repomd.xml", "primary.xml.gz", "hello-libs-1.0-1.noarch.rpm"} <= set(asked)


def test_a_proxy_wants_to_know_who_asks(
    pybuild: Pybuild, tiny_repository: Path, proxy: Site
) -> None:
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    proxy.demand("me", PASSWORD, "Proxy-Authorization")
    options = (f"proxy={proxy.url}", "proxy_username=me", "proxy_password=$PASS")
    pybuild.add({"r.repo": _repo_file("http://far.invalid/repo", *options)})
    text = _bootstrap("--mount=type=secret,id=p,env=PASS --repo=r.repo")
    given = ("--secret", "id=p,env=P")
    fails(
        pybuild, text, 4, "407 Client Error: Proxy Authentication Required",
        arguments=given, env={"P": "wrong"},
    )  # fmt: skip
    ended = pybuild.try_build(text, *given, env={"P": PASSWORD})
    assert ended.status == 0, ended.stderr
    is_nowhere(pybuild, PASSWORD, ended.stderr)


def test_a_proxy_that_is_not_there_is_status_4(pybuild: Pybuild, tiny_repository: Path) -> None:
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    pybuild.add({"r.repo": _repo_file("http://far.invalid/repo", "proxy=http://127.0.0.1:1")})
    fails(pybuild, _bootstrap("--repo=r.repo"), 4, "Containerfile:3:10:", "Connection refused")


def test_a_repository_without_the_proxy_of_the_environment(pybuild: Pybuild, site: Site) -> None:
    pybuild.add({"r.repo": _repo_file(f"{site.url}/repo", "proxy=_none_")})
    env = {"http_proxy": "http://127.0.0.1:1"}
    assert installed(pybuild.build(_bootstrap("--repo=r.repo"), env=env)) == {"hello-libs"}


# --- Certificates


@pytest.fixture
def secure(
    tiny_repository: Path, pybuild: Pybuild, authority: Path, public: Path
) -> Iterator[tuple[Site, Path]]:
    """A server with a certificate of that CA, and the CA's own."""
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    ca = public / "ca.pem"
    shutil.copy2(authority / "ca.pem", ca)
    ca.chmod(0o644)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    with running_site(context) as made:
        made.add(tiny_repository / "repo", "/repo")
        yield made, ca


@pytest.mark.needs_program("openssl")
@pytest.mark.parametrize("how", ["sslcacert", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "secret"])
def test_a_corporate_ca_is_trusted(pybuild: Pybuild, secure: tuple[Site, Path], how: str) -> None:
    site, ca = secure
    place = "/ca.pem" if how == "secret" else ca
    options = [f"sslcacert={place}"] if how in ("sslcacert", "secret") else []
    pybuild.add({"r.repo": _repo_file(f"{site.url}/repo", *options)})
    env = {how: str(ca)} if how.isupper() else {}
    mount = "--mount=type=secret,id=ca,target=/ca.pem" if how == "secret" else ""
    text = _bootstrap(f"{mount} --repo=r.repo")
    given = ("--secret", f"id=ca,src={ca}") if how == "secret" else ()
    assert installed(pybuild.build(text, *given, env=env)) == {"hello-libs"}


@pytest.mark.needs_program("openssl")
def test_an_unknown_ca_is_status_4_with_a_hint(
    pybuild: Pybuild, secure: tuple[Site, Path]
) -> None:
    pybuild.add({"r.repo": _repo_file(f"{secure[0].url}/repo")})
    fails(
        pybuild, _bootstrap("--repo=r.repo"), 4, "Containerfile:3:10:", "repository 'tiny'",
        "certificate verify failed: unable to get local issuer certificate",
        "hint: SSL_CERT_FILE, or sslcacert=",
    )  # fmt: skip


@pytest.mark.needs_program("openssl")
def test_without_sslverify_nobody_is_asked(pybuild: Pybuild, secure: tuple[Site, Path]) -> None:
    pybuild.add({"r.repo": _repo_file(f"{secure[0].url}/repo", "sslverify=0")})
    assert installed(pybuild.build(_bootstrap("--repo=r.repo"))) == {"hello-libs"}


@pytest.mark.needs_program("openssl")
def test_a_ca_file_that_is_missing_is_named(pybuild: Pybuild, secure: tuple[Site, Path]) -> None:
    pybuild.add({"r.repo": _repo_file(f"{secure[0].url}/repo", "sslcacert=/no/ca.pem")})
    fails(pybuild, _bootstrap("--repo=r.repo"), 4, "Containerfile:3:10:", "/no/ca.pem")


@pytest.mark.needs_program("openssl")
def test_a_client_certificate_says_who_asks_and_its_key_is_a_secret(
    pybuild: Pybuild, tiny_repository: Path, authority: Path, public: Path
) -> None:
    shutil.copy2(tiny_repository / KEY, pybuild.context)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    context.load_verify_locations(authority / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    given = []
    for id, name in (("ca", "ca.pem"), ("crt", "server.crt"), ("key", "server.key")):
        shutil.copy2(authority / name, public / id)
        (public / id).chmod(0o644)
        given += ["--secret", f"id={id},src={public / id}"]
    with running_site(context) as made:
        made.add(tiny_repository / "repo", "/repo")
        options = ["sslcacert=/s/ca", "sslclientcert=/s/crt"]
        key = "sslclientkey=/s/key"
        mounts = " ".join(
            f"--mount=type=secret,id={n},target=/s/{n}" for n in ("ca", "crt", "key")
        )
        pybuild.add({"r.repo": _repo_file(f"{made.url}/repo", *options, key)})
        ended = pybuild.try_build(_bootstrap(f"{mounts} --repo=r.repo"), *given)
        assert ended.status == 0, ended.stderr
        assert installed(Image(pybuild.output)) == {"hello-libs"}
        body = (authority / "server.key").read_text().splitlines()[1]
        is_nowhere(pybuild, body, ended.stderr)
        pybuild.output.unlink()
        pybuild.add({"r.repo": _repo_file(f"{made.url}/repo", options[0])})
        fails(pybuild, _bootstrap(f"{mounts} --repo=r.repo"), 4, "'tiny'", arguments=given)


# --- Documents and mirrors


def test_repository_files_and_keys_come_from_servers(pybuild: Pybuild, site: Site) -> None:
    site.files["/r.repo"] = _repo_file(f"{site.url}/repo", f"gpgkey={site.url}/key").encode()
    site.files["/key"] = (pybuild.context / KEY).read_bytes()
    text = f"FROM scratch\nBOOTSTRAP --repo={site.url}/r.repo hello-libs\n"
    assert installed(pybuild.build(text)) == {"hello-libs"}
    text = text.replace("--repo", f"--key={site.url}/key --repo")
    assert installed(pybuild.build(text)) == {"hello-libs"}
    pybuild.output.unlink()
    del site.files["/key"]
    words = ("Containerfile:3:9:", "key: ", "404")
    fails(pybuild, text.replace("BOOTSTRAP ", "BOOTSTRAP \\\n  "), 4, *words)


def test_a_metalink_says_what_the_metadata_must_be(pybuild: Pybuild, site: Site) -> None:
    def metalink(digest: str) -> bytes:
        content = site.files["/repo/repodata/repomd.xml"]
        return (
            '<metalink version="3.0" xmlns="http://www.metalinker.org/"><files>'
            f'<file name="repomd.xml"><size>{len(content)}</size><verification>'
            f'<hash type="sha256">{digest}</hash></verification><resources>'
            f'<url protocol="http" type="http" location="DE" preference="100">{site.url}'
            "/repo/repodata/repomd.xml</url></resources></file></files></metalink>"
        ).encode()

    digest = hashlib.sha256(site.files["/repo/repodata/repomd.xml"]).hexdigest()
    site.files["/metalink"] = metalink(digest)
    pybuild.add({"r.repo": f"[tiny]\nname=tiny\nmetalink={site.url}/metalink\n"})
    text = _bootstrap("--repo=r.repo")
    assert installed(pybuild.build(text)) == {"hello-libs"}
    pybuild.output.unlink()
    site.files["/metalink"] = metalink("0" * 64)
    fails(pybuild, text.replace("libs", "extras"), 1, "Containerfile:3:10:", "'tiny'", "checksum")


@pytest.mark.parametrize("option", ["baseurl", "mirrorlist"])
def test_a_mirror_that_is_down_is_passed_over_and_a_change_is_seen(
    pybuild: Pybuild, tiny_repository: Path, site: Site, option: str
) -> None:
    mirrors = ["http://127.0.0.1:1/repo", f"{site.url}/repo"]
    site.files["/mirrors"] = ("# two\n" + "\n".join(mirrors) + "\n").encode()
    value = f"{site.url}/mirrors" if option == "mirrorlist" else " ".join(mirrors)
    pybuild.add({"r.repo": f"[tiny]\nname=tiny\n{option}={value}\n"})
    text = _bootstrap("--repo=r.repo")
    assert query(pybuild.build(text), "%{VERSION}") == ["1.0"]
    # At once: what dnf has is less than a second old.
    site.add(tiny_repository / "updates", "/repo")
    assert query(pybuild.build(text), "%{VERSION}") == ["2.0"]
