"""Logging in to real registries, and to servers that want what they must not have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.errors import RegistryError
from runtime.registry.credentials import Credentials
from runtime.registry.reference import Reference, parse_reference
from runtime.registry.transport import DELETE, PUSH, Transport
from tests.claims import kept_credential
from tests.runtime.registry.conftest import Clock
from tests.runtime.registry.fault_proxy import FaultProxy, Rule, running_proxy, status
from tests.runtime.registry.registries import ALICE, PASSWORD, USER, Registry, own_environment
from tests.runtime.registry.token_server import REFRESH_TOKEN, TokenServer
from tests.support import run

WRITE = "repository:app:pull,push"


def start_upload(reference: Reference, clock: Clock, credentials: Credentials | None) -> None:
    """Do what needs the right to write."""
    with Transport(reference, credentials=credentials, settings=clock.settings) as transport:
        answer = transport.request(
            "POST", transport.url("blobs/uploads/"), accept=(202,), actions=PUSH
        )
        transport.request("DELETE", transport.location(answer), accept=(204,), actions=DELETE)


def test_a_registry_that_asks_for_a_password_gets_it(
    closed_registry: Registry, clock: Clock
) -> None:
    start_upload(closed_registry.name("app"), clock, ALICE)


@pytest.mark.needs_program("podman")
def test_what_podman_login_writes_is_found(
    closed_registry: Registry, clock: Clock, tmp_path: Path
) -> None:
    login = ["podman", "login", "--tls-verify=false", "-u", USER, "-p", PASSWORD]
    file = tmp_path / "run/containers/auth.json"
    ended = run([*login, "--authfile", file, closed_registry.host], env=own_environment())
    assert ended.status == 0, ended.stderr
    start_upload(closed_registry.name("app"), clock, None)


def test_who_has_no_password_is_told_how_to_log_in(
    closed_registry: Registry, clock: Clock
) -> None:
    with pytest.raises(RegistryError, match="401 Unauthorized: authentication req") as caught:
        start_upload(closed_registry.name("app"), clock, None)
    assert f"podman login {closed_registry.host}" in str(caught.value.hint)


def test_a_wrong_password_is_tried_once_and_its_file_named(
    closed_registry: Registry, clock: Clock
) -> None:
    wrong = Credentials(username=USER, password="topsecret", source="/some/file")
    with running_proxy(closed_registry.host) as proxy:
        with pytest.raises(RegistryError, match="401") as caught:
            start_upload(parse_reference(f"{proxy.host}/app"), clock, wrong)
        assert len(proxy.requests) == 2
    assert "/some/file" in str(caught.value.hint)
    assert "topsecret" not in f"{caught.value.message}{caught.value.hint}"


def test_a_registry_that_asks_for_a_token_gets_one(
    token_registry: Registry, tokens: TokenServer, clock: Clock
) -> None:
    start_upload(token_registry.name("app"), clock, ALICE)
    asked = tokens.asked[0]
    assert asked == {"service": ["test-registry"], "account": [USER], "scope": [WRITE]}
    assert tokens.logins == [ALICE.basic, ALICE.basic]


def test_an_identity_token_is_traded_for_one(
    token_registry: Registry, tokens: TokenServer, clock: Clock
) -> None:
    identity = Credentials(identity_token=REFRESH_TOKEN)
    start_upload(token_registry.name("app"), clock, identity)
    asked = tokens.asked[0]
    assert asked["grant_type"] == ["refresh_token"]
    assert asked["scope"] == [WRITE]


def test_who_is_nobody_may_read_and_not_write(
    token_registry: Registry, tokens: TokenServer, clock: Clock
) -> None:
    with Transport(token_registry.name("app"), settings=clock.settings) as transport:
        url = transport.url("manifests/v1")
        transport.request("HEAD", url, accept=(404,))
    with pytest.raises(RegistryError, match="401"):
        start_upload(token_registry.name("app"), clock, None)
    assert tokens.logins == ["", ""]


def test_wrong_credentials_are_refused_by_the_server_of_tokens(
    token_registry: Registry, tokens: TokenServer, clock: Clock
) -> None:
    wrong = Credentials(username=USER, password="topsecret", source="/some/file")
    with pytest.raises(RegistryError, match=f"token of {tokens.url}/token: 401") as caught:
        start_upload(token_registry.name("app"), clock, wrong)
    assert "/some/file" in str(caught.value.hint)


def test_a_token_serves_for_all_requests_of_its_scopes(
    token_registry: Registry, tokens: TokenServer, clock: Clock
) -> None:
    with (
        running_proxy(token_registry.host) as proxy,
        Transport(
            parse_reference(f"{proxy.host}/app"), credentials=ALICE, settings=clock.settings
        ) as transport,
    ):
        for _ in range(3):
            transport.request("HEAD", transport.url("manifests/v1"), accept=(404,))
        assert len(tokens.asked) == 1
        transport.request("HEAD", transport.url("manifests/v1"), accept=(404,), actions=PUSH)
        assert len(tokens.asked) == 2
        # The first is refused; from then on it is known what the registry wants.
        assert len(proxy.requests) == 5


def test_a_token_that_has_run_out_is_renewed_before_it_is_refused(
    token_registry: Registry, tokens: TokenServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("runtime.registry.authorization.time.monotonic", lambda: now[0])
    with Transport(token_registry.name("app"), settings=clock.settings) as transport:
        transport.request("HEAD", transport.url("manifests/v1"), accept=(404,))
        now[0] += tokens.lifetime_s * 0.8
        transport.request("HEAD", transport.url("manifests/v1"), accept=(404,))
        assert len(tokens.asked) == 1
        now[0] += tokens.lifetime_s * 0.2
        transport.request("HEAD", transport.url("manifests/v1"), accept=(404,))
        assert len(tokens.asked) == 2


def test_a_token_that_is_refused_is_renewed_once(
    token_registry: Registry, tokens: TokenServer, clock: Clock
) -> None:
    with running_proxy(token_registry.host) as proxy:
        realm = f'Bearer realm="{tokens.url}/token",service="test-registry"'
        refuse = status(401, WWW_Authenticate=realm)
        reference = parse_reference(f"{proxy.host}/app")
        with Transport(reference, settings=clock.settings) as transport:
            url = transport.url("manifests/v1")
            transport.request("HEAD", url, accept=(404,))
            proxy.on(refuse, "HEAD")
            transport.request("HEAD", url, accept=(404,))
            assert len(tokens.asked) == 2
            proxy.on(refuse, "HEAD", times=0)
            with pytest.raises(RegistryError, match="401"):
                transport.request("HEAD", url, accept=(404,))
            assert len(tokens.asked) == 3


def test_a_mount_asks_for_both_repositories(
    token_registry: Registry, tokens: TokenServer, clock: Clock
) -> None:
    with Transport(
        token_registry.name("app"), credentials=ALICE, settings=clock.settings
    ) as transport:
        url = transport.url("manifests/v1")
        transport.request("HEAD", url, accept=(404,), actions=PUSH, mounting="base/image")
    assert tokens.asked[0]["scope"] == [WRITE, "repository:base/image:pull"]


@kept_credential
@pytest.mark.parametrize(
    ("realm", "words"),
    [
        ("http://tokens.example/token", "is not encrypted"),
        ("ftp://tokens.example/", "is not an http or https URL"),
        ("/token", "is not an http or https URL"),
        ("https://user:pw@tokens.example/", "has a user in it"),
        ("http://169.254.169.254/latest", "has a link-local address"),
        ("http://[::1", "is not an http or https URL"),
    ],
)
def test_credentials_go_to_no_server_of_tokens_that_is_not_safe(
    proxy: FaultProxy, clock: Clock, realm: str, words: str
) -> None:
    proxy.on(status(401, WWW_Authenticate=f'Bearer realm="{realm}"'), times=0)
    reference = parse_reference(f"{proxy.host}/app")
    with pytest.raises(RegistryError, match=words) as caught:
        start_upload(reference, clock, ALICE)
    assert "pw" not in caught.value.message


@kept_credential
def test_a_registry_elsewhere_sends_no_credentials_to_this_machine(clock: Clock) -> None:
    with Transport(parse_reference("registry.example/app"), settings=clock.settings) as transport:
        for url in ("http://127.0.0.1/token", "https://localhost:8443/token"):
            with pytest.raises(RegistryError, match=r"is not encrypted|is on this machine"):
                transport.check(url)


@kept_credential
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_server_brings_no_credentials_along(
    proxy: FaultProxy, clock: Clock, code: int
) -> None:
    with running_proxy() as other:
        other.rules = [Rule(status(200, b"{}"), times=0)]
        proxy.on(status(401, WWW_Authenticate='Basic realm="x"'))
        proxy.on(status(code, Location=f"http://{other.host}/data?signature=s"))
        reference = parse_reference(f"{proxy.host}/app")
        with Transport(reference, credentials=ALICE, settings=clock.settings) as transport:
            transport.request("GET", transport.url("blobs/x"), accept=(200,))
        assert proxy.requests[-1].headers["Authorization"] == ALICE.basic
        [request] = other.requests
        assert "Authorization" not in request.headers
        assert request.path == "/data?signature=s"


@kept_credential
def test_another_server_that_asks_who_we_are_is_not_told(proxy: FaultProxy, clock: Clock) -> None:
    with running_proxy() as other:
        other.rules = [Rule(status(401, WWW_Authenticate='Basic realm="x"'), times=0)]
        proxy.on(status(307, Location=f"http://{other.host}/data"), times=0)
        reference = parse_reference(f"{proxy.host}/app")
        with (
            Transport(reference, credentials=ALICE, settings=clock.settings) as transport,
            pytest.raises(RegistryError, match="401"),
        ):
            transport.request("GET", transport.url("blobs/x"), accept=(200,))
        assert [one.headers["Authorization"] for one in other.requests] == [None]


def test_netrc_does_not_take_the_place_of_our_token(
    token_registry: Registry, tokens: TokenServer, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.netrc").write_text("machine 127.0.0.1 login mallory password m\n")
    start_upload(token_registry.name("app"), clock, ALICE)
    assert tokens.logins == [ALICE.basic, ALICE.basic]


def test_a_server_of_tokens_without_a_token_is_named(proxy: FaultProxy, clock: Clock) -> None:
    realm = f'Bearer realm="http://{proxy.host}/token"'
    proxy.on(status(401, WWW_Authenticate=realm), path="/v2/", times=0)
    reference = parse_reference(f"{proxy.host}/app")
    for content in (b"<html>", b"{}", b'{"token": 1}', b'{"token": "a\\u000db"}'):
        proxy.rules[1:] = [Rule(status(200, content), path="/token", times=0)]
        with pytest.raises(RegistryError, match=f"token of http://{proxy.host}/token"):
            start_upload(reference, clock, None)


def test_a_server_of_tokens_that_fails_is_asked_again(proxy: FaultProxy, clock: Clock) -> None:
    realm = f'Bearer realm="http://{proxy.host}/token"'
    proxy.on(status(401, WWW_Authenticate=realm), path="/v2/")
    proxy.on(status(503), path="/token", times=2)
    proxy.on(status(200, json.dumps({"access_token": "T"}).encode()), path="/token")
    proxy.on(status(200), path="/v2/")
    with Transport(parse_reference(f"{proxy.host}/app"), settings=clock.settings) as transport:
        transport.request("GET", transport.url("manifests/v1"), accept=(200,))
    assert proxy.requests[-1].headers["Authorization"] == "Bearer T"
    assert len(clock.waits) == 2
