"""What goes wrong on the way is tried again, or told in one sentence."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from runtime.errors import RegistryError
from runtime.registry.reference import parse_reference
from runtime.registry.transport import Transport
from runtime.registry.wire import Settings, shown
from tests.buildkit.conftest import authority  # noqa: F401
from tests.buildkit.web import running_site
from tests.claims import registry_fault
from tests.runtime.registry.conftest import Clock
from tests.runtime.registry.fault_proxy import (
    Act,
    Exchange,
    FaultProxy,
    dropped,
    running_proxy,
    stalled,
    status,
)


@pytest.fixture
def transport(proxy: FaultProxy, clock: Clock) -> Iterator[Transport]:
    """To a server that does what the test says."""
    with Transport(parse_reference(f"{proxy.host}/app"), settings=clock.settings) as made:
        yield made


def get(transport: Transport) -> None:
    """Ask for something."""
    transport.request("GET", transport.url("manifests/v1"), accept=(200,))


@registry_fault
@pytest.mark.parametrize("code", [408, 429, 499, 500, 502, 503, 504, 522])
def test_what_may_pass_is_tried_three_times(
    proxy: FaultProxy, transport: Transport, clock: Clock, code: int
) -> None:
    proxy.on(status(code), times=2)
    proxy.on(status(200))
    get(transport)
    first, second = clock.waits
    assert 1 <= first <= 1.1
    assert 3 <= second <= 3.3
    proxy.on(status(code), times=0)
    with pytest.raises(RegistryError, match=rf": {code} .*\(3 tries\)"):
        get(transport)
    assert len(proxy.requests) == 6


@registry_fault
@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 416, 501])
def test_what_will_not_pass_is_tried_once(
    proxy: FaultProxy, transport: Transport, clock: Clock, code: int
) -> None:
    proxy.on(status(code), times=0)
    with pytest.raises(
        RegistryError, match=f"GET http://{proxy.host}/v2/app/manifests/v1: {code}"
    ):
        get(transport)
    assert len(proxy.requests) == 1
    assert clock.waits == []


def half_a_line(exchange: Exchange) -> None:
    """The connection ends before there is a status."""
    exchange.wfile.write(b"HTTP/1.1 2")
    exchange.cut()


@registry_fault
@pytest.mark.parametrize("act", [dropped, half_a_line])
def test_a_connection_that_ends_is_tried_again(
    proxy: FaultProxy, transport: Transport, act: Act
) -> None:
    proxy.on(act, times=2)
    proxy.on(status(200))
    get(transport)
    assert len(proxy.requests) == 3


def test_the_server_says_how_long_to_wait(
    proxy: FaultProxy, transport: Transport, clock: Clock
) -> None:
    proxy.on(status(429, Retry_After="17"))
    proxy.on(status(503, Retry_After="0"))
    proxy.on(status(200))
    get(transport)
    assert clock.waits[0] == 17
    assert 3 <= clock.waits[1] <= 3.3


def test_the_time_to_wait_may_be_a_date(
    proxy: FaultProxy, transport: Transport, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.registry.retrying.time.time", lambda: 1_000_000_000.0)
    proxy.on(status(429, Retry_After=formatdate(1_000_000_050, usegmt=True)))
    proxy.on(status(503, Retry_After="soon"))
    proxy.on(status(200))
    get(transport)
    assert clock.waits[0] == 50
    assert 3 <= clock.waits[1] <= 3.3


def test_nobody_waits_for_an_hour(proxy: FaultProxy, transport: Transport, clock: Clock) -> None:
    proxy.on(status(429, Retry_After="3600"), times=0)
    with pytest.raises(RegistryError, match="429") as caught:
        get(transport)
    assert caught.value.hint == "the registry wants to be left alone for 3600 seconds"
    assert clock.waits == []


@registry_fault
def test_a_server_that_says_nothing_is_given_up(proxy: FaultProxy, clock: Clock) -> None:
    proxy.on(stalled, times=0)
    settings = Settings(read_timeout_s=0.05, pause=clock.waits.append)
    with (
        Transport(parse_reference(f"{proxy.host}/app"), settings=settings) as transport,
        pytest.raises(RegistryError, match=r"no answer in 0\.05 seconds \(3 tries\)"),
    ):
        get(transport)


def test_a_port_where_nobody_listens_is_named(clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            Transport(parse_reference(f"{host}/app"), settings=clock.settings) as transport,
            pytest.raises(RegistryError, match=rf"{host}.*Connection refused \(3 tries\)"),
        ):
            get(transport)


def test_the_registrys_own_words_are_shown(proxy: FaultProxy, transport: Transport) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"no\\u001b[31m\\n way"},{"code":"X"},7]}'
    proxy.on(status(403, body))
    with pytest.raises(RegistryError) as caught:
        get(transport)
    words = "no\N{REPLACEMENT CHARACTER}[31m way (DENIED); X"
    assert caught.value.message.endswith(f"403 Forbidden: {words}")


@pytest.mark.parametrize(
    "body", [b"<html>\x1b[31m secret</html>", b"[]", b"{}", b"\xff" * 100_000]
)
def test_a_page_for_people_is_not(proxy: FaultProxy, transport: Transport, body: bytes) -> None:
    proxy.on(status(404, body))
    with pytest.raises(RegistryError) as caught:
        get(transport)
    assert caught.value.message.endswith("/v2/app/manifests/v1: 404 Not Found")


@registry_fault
def test_redirects_without_end_are(proxy: FaultProxy, transport: Transport) -> None:
    proxy.on(status(307, Location="/again"), times=0)
    with pytest.raises(RegistryError, match="more than 10 redirects"):
        get(transport)
    assert len(proxy.requests) == 10


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "http://u:p@a.example/",
        "http://[::1",
    ],
)
def test_a_redirect_to_where_not_to_go_is_refused(
    proxy: FaultProxy, transport: Transport, location: str
) -> None:
    proxy.on(status(307, Location=location))
    with pytest.raises(RegistryError, match=r"sends us to .*, which "):
        get(transport)


def test_warnings_are_told_once(proxy: FaultProxy, transport: Transport, clock: Clock) -> None:
    warning = '299 - "going \\"away\\"", 299 - "soon\x1b", 199 other "not for us"'
    proxy.on(status(200, Warning=warning), times=0)
    get(transport)
    get(transport)
    assert clock.told == [
        f'{proxy.host}: going "away"',
        f"{proxy.host}: soon\N{REPLACEMENT CHARACTER}",
    ]


def test_connections_are_kept(transport: Transport, proxy: FaultProxy) -> None:
    proxy.on(status(200, b"{}"), times=0)
    for _ in range(3):
        get(transport)
    assert len({one.client for one in proxy.requests}) == 1


def test_cookies_are_not(transport: Transport, proxy: FaultProxy) -> None:
    proxy.on(status(200, b"{}", Set_Cookie="a=b"), times=0)
    for _ in range(2):
        get(transport)
    assert "Cookie" not in proxy.requests[1].headers


def test_this_machine_is_not_asked_for_through_a_proxy(
    transport: Transport, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_proxy() as other:
        monkeypatch.setenv("http_proxy", f"http://{other.host}")
        proxy.on(status(200))
        get(transport)
        assert other.requests == []


def test_the_proxy_of_the_environment_is_used_unless_it_says_not_to(
    proxy: FaultProxy, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://{proxy.host}")
    reference = parse_reference("registry.invalid/app")
    with Transport(reference, settings=clock.settings) as transport:
        with pytest.raises(RegistryError, match="Tunnel connection failed: 501") as caught:
            get(transport)
        assert "no_proxy" in str(caught.value.hint)
        monkeypatch.setenv("no_proxy", "registry.invalid")
        with pytest.raises(RegistryError) as caught:
            get(transport)
        assert "Tunnel" not in caught.value.message


@pytest.mark.needs_program("openssl")
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_certificates_of_the_environment_are_used(
    authority: Path,  # noqa: F811
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    for module in ("reference", "wire"):
        monkeypatch.setattr(f"runtime.registry.{module}.is_loopback", lambda _: False)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / "server.pem")
    with running_site(tls) as site:
        site.files["/v2/app/manifests/v1"] = b"{}"
        reference = parse_reference(f"{site.url.partition('//')[2]}/app")
        with Transport(reference, settings=clock.settings) as transport:
            with pytest.raises(RegistryError, match="certificate verify failed") as caught:
                get(transport)
            assert "SSL_CERT_FILE" in str(caught.value.hint)
            monkeypatch.setenv(variable, str(authority / "ca.pem"))
            get(transport)
            monkeypatch.setenv(variable, "/nothing.pem")
            with pytest.raises(RegistryError, match=r"/nothing\.pem"):
                get(transport)
            (authority / "empty.pem").write_bytes(b"")
            monkeypatch.setenv(variable, str(authority / "empty.pem"))
            with pytest.raises(RegistryError, match="no certificate or crl found"):
                get(transport)


def test_a_registry_without_tls_is_said_to_have_none(
    proxy: FaultProxy, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("reference", "wire"):
        monkeypatch.setattr(f"runtime.registry.{module}.is_loopback", lambda _: False)
    with (
        Transport(parse_reference(f"{proxy.host}/app"), settings=clock.settings) as transport,
        pytest.raises(RegistryError) as caught,
    ):
        get(transport)
    assert "does not speak TLS" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://a.example/v2/x?sig=s#f", "https://a.example/v2/x"),
        ("https://u:p@a.example/v2/x", "https://a.example/v2/x"),
        ("https://a.example/\x1b[31m", "https://a.example/\N{REPLACEMENT CHARACTER}[31m"),
    ],
)
def test_a_url_is_shown_without_what_is_secret_in_it(url: str, text: str) -> None:
    assert shown(url) == text
