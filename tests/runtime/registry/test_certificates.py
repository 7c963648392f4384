"""certs.d: which authorities a registry may be vouched for by, and who we are to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import RegistryError
from runtime.registry.certificates import find_certificates
from runtime.registry.manifests import resolve
from runtime.registry.reference import parse_reference
from runtime.registry.transport import Transport
from tests.runtime.registry.authorities import make_authority, put, tls_settings
from tests.runtime.registry.layouts import Layout
from tests.runtime.registry.registries import PROGRAM, Registry, running_registry, skopeo
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
def mutual(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Registry]:
    """A registry that lets only those in who have a certificate of that CA."""
    place = tmp_path_factory.mktemp("mutual")
    with running_registry(place / "r", **tls_settings(authority, mutual=True)) as running:
        yield running


def test_the_users_directory_counts_before_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tmp_path / "etc"
    monkeypatch.setattr("runtime.registry.certificates._MACHINE", (str(machine),))
    for folder in (machine / "reg.example", machine / "reg.example:5000"):
        folder.mkdir(parents=True)
        (folder / "ca.crt").touch()
    environ = {"HOME": str(tmp_path)}
    found = find_certificates("reg.example", environ)
    assert found is not None
    assert found.authorities == (f"{machine}/reg.example/ca.crt",)
    own = put(tmp_path, "reg.example")
    for name in ("b.crt", "a.crt", "me.cert", "me.key", "README"):
        (own / name).touch()
    found = find_certificates("reg.example", environ)
    assert found is not None
    assert found.authorities == (f"{own}/a.crt", f"{own}/b.crt")
    assert found.clients == (f"{own}/me.cert",)
    assert find_certificates("reg.example:443", environ) is None
    (own / "me.key").unlink()
    with pytest.raises(RegistryError, match=r"reg\.example: me\.cert without me\.key"):
        find_certificates("reg.example", environ)


def test_a_file_that_is_no_certificate_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = put(tmp_path, "reg.example", ca_crt=Path(__file__))
    with pytest.raises(RegistryError, match=rf"^{folder}/ca\.crt: "):
        Transport(parse_reference("reg.example/x"))
    put(tmp_path, "reg.example", ca_crt=authority / "ca.crt", me_cert=authority / "client.crt")
    put(tmp_path, "reg.example", me_key=authority / "other.key")
    with pytest.raises(RegistryError, match=rf"^{folder}/me\.cert: "):
        Transport(parse_reference("reg.example/x"))


def test_skopeo_reads_the_same_directory(
    authority: Path, mutual: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    folder = put(
        home, mutual.host, ca_crt=authority / "ca.crt", client_cert=authority / "client.crt",
        client_key=authority / "client.key",
    )  # fmt: skip
    layout = Layout()
    image = layout.image(layout.layer("x"))
    place = layout.write(tmp_path / "layout", image)
    name = f"{mutual.host}/theirs:1"
    skopeo("copy", "--dest-cert-dir", folder, f"oci:{place}:v1", f"docker://{name}")
    assert resolve(parse_reference(name)).digest == image["digest"]
