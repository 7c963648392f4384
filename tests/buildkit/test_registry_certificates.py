"""Registries with TLS and CAs of their own: commands and builds, by certs.d and --tls-verify."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.buildkit.support import Pybuild
from tests.runtime.registry.authorities import make_authority, put, tls_settings
from tests.runtime.registry.registries import (
    PASSWORD,
    PROGRAM,
    USER,
    Registry,
    password_settings,
    running_registry,
)
from tests.support import which

pytestmark = [
    pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed"),
    pytest.mark.skipif(not which("openssl"), reason="openssl is not installed"),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA that nobody knows, and what it signed."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Registry]:
    """A registry that speaks TLS, and asks for a password."""
    place = tmp_path_factory.mktemp("encrypted")
    settings = {**password_settings(place), **tls_settings(authority)}
    with running_registry(place / "registry", **settings) as running:
        yield running


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Registry]:
    """A registry that lets only those in who have a certificate of that CA."""
    place = tmp_path_factory.mktemp("mutual")
    with running_registry(place / "r", **tls_settings(authority, mutual=True)) as running:
        yield running


@pytest.fixture
def home(pybuild: Pybuild) -> Path:
    """The home of whoever calls pybuild."""
    pybuild.variables["HOME"] = str(pybuild.directory / "home")
    pybuild.variables["REGISTRY_AUTH_FILE"] = str(pybuild.directory / "auth.json")
    return pybuild.directory / "home"


def _login(pybuild: Pybuild, host: str, *words: str) -> tuple[int, str]:
    ended = pybuild.run("login", "-u", USER, "-p", PASSWORD, *words, host)
    return ended.status, ended.stderr


def test_an_authority_in_certs_d_is_trusted_for_its_registry(
    pybuild: Pybuild, home: Path, authority: Path, encrypted: Registry
) -> None:
    host, name = encrypted.host, f"{encrypted.host}/team/app:1"
    put(home, host, other_crt=authority / "other.crt")
    status, said = _login(pybuild, host)
    assert status == 4
    assert "certificate verify failed" in said
    assert f"hint: its CA's certificate belongs into /etc/containers/certs.d/{host}/ca.crt" in said
    assert said.count("\n") == 2
    put(home, host, ca_crt=authority / "ca.crt")
    assert _login(pybuild, host)[0] == 0
    pushed = pybuild.try_build("FROM scratch\nCOPY Containerfile /f\n", "-t", name, "--push")
    assert pushed.status == 0, pushed.stderr
    ended = pybuild.run("pull", "-q", "--root", "fresh", name)
    assert (ended.status, ended.stdout) == (0, pushed.stdout), ended.stderr
    assert pybuild.try_build(f"FROM {name}\nLABEL a=b\n", "--root", "third").status == 0


def test_who_has_a_certificate_is_let_in_and_others_are_told(
    pybuild: Pybuild, home: Path, authority: Path, mutual: Registry
) -> None:
    name = f"{mutual.host}/team/app:1"
    put(home, mutual.host, ca_crt=authority / "ca.crt")
    text = "FROM scratch\nCOPY Containerfile /f\n"
    ended = pybuild.try_build(text, "-t", name, "--push")
    assert ended.status == 4
    assert "hint: it wants a certificate of ours: client.cert and client.key in " in ended.stderr
    client = {"client_cert": authority / "client.crt", "client_key": authority / "client.key"}
    put(home, mutual.host, **client)
    ended = pybuild.try_build(text, "-t", name, "--push")
    assert ended.status == 0, ended.stderr
    assert pybuild.run("pull", "-q", "--root", "fresh", name).status == 0


def test_without_verification_any_certificate_will_do_and_none(
    pybuild: Pybuild, home: Path, authority: Path, encrypted: Registry, registry: Registry
) -> None:
    host, name = encrypted.host, f"{encrypted.host}/team/loose:1"
    assert _login(pybuild, host, "--tls-verify=false")[0] == 0
    assert pybuild.try_build("FROM scratch\nCOPY Containerfile /f\n", "-t", name).status == 0
    for words in (["push"], ["pull", "--root=fresh"]):
        ended = pybuild.run(*words, "-q", "--tls-verify=false", name)
        assert ended.status == 0, ended.stderr
        assert "Warning" not in ended.stderr
    put(home, host, ca_crt=authority / "other.crt")
    assert pybuild.run("push", "--tls-verify=true", name).status == 4
    conf = pybuild.work / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
    loose = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
    assert pybuild.run("push", name, env=loose).status == 0
    assert pybuild.run("push", "--tls-verify=false", name).status == 0
    other = f"{registry.host}/team/loose:1"
    assert pybuild.run("push", "-q", "--tls-verify=false", name, other).status == 0
    assert pybuild.run("pull", "-q", "--tls-verify=false", other).status == 0
    assert pybuild.run("pull", "--tls-verify=maybe", other).status == 2


def test_a_registry_that_says_no_is_not_asked_without_encryption(
    pybuild: Pybuild, home: Path, encrypted: Registry
) -> None:
    assert _login(pybuild, encrypted.host, "--tls-verify=false")[0] == 0
    ended = pybuild.run("pull", "--tls-verify=false", f"{encrypted.host}/none")
    assert ended.status == 4
    assert "404" in ended.stderr
    assert "http://" not in ended.stderr
