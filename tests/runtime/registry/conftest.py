"""Registries that the tests share, each with what it demands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.registry.wire import Settings
from tests.runtime.registry.fault_proxy import FaultProxy, running_proxy
from tests.runtime.registry.registries import (
    PROGRAM,
    Registry,
    password_settings,
    running_registry,
)
from tests.runtime.registry.token_server import TokenServer, running_token_server
from tests.support import which

_OURS = (
    *("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "SSL_CERT_FILE"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing that the developer is logged in to matters."""
    for name in _OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An open registry."""
    if not PROGRAM:
        pytest.skip("docker-registry is not installed")
    with running_registry(tmp_path_factory.mktemp("open") / "registry") as running:
        yield running


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that asks for a password."""
    if not PROGRAM:
        pytest.skip("docker-registry is not installed")
    place = tmp_path_factory.mktemp("password")
    with running_registry(place / "registry", **password_settings(place)) as running:
        yield running


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[TokenServer]:
    """A server of tokens."""
    if not which("openssl"):
        pytest.skip("openssl is not installed")
    with running_token_server(tmp_path / "tokens") as running:
        yield running


@pytest.fixture
def token_registry(tokens: TokenServer, tmp_path: Path) -> Iterator[Registry]:
    """A registry that asks for tokens of that server."""
    if not PROGRAM:
        pytest.skip("docker-registry is not installed")
    with running_registry(tmp_path / "registry", **tokens.settings) as running:
        yield running


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A server that only does what the test says."""
    with running_proxy() as running:
        yield running


@pytest.fixture
def faults(registry: Registry) -> Iterator[FaultProxy]:
    """A proxy before the open registry."""
    with running_proxy(registry.host) as running:
        yield running


class Clock:
    """What was waited for, without waiting; and what was told."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.told: list[str] = []
        self.settings = Settings(
            connect_timeout_s=5,
            read_timeout_s=5,
            pause=self.waits.append,
            tell=self.told.append,
        )


@pytest.fixture
def clock() -> Clock:
    """Settings under which no test waits."""
    return Clock()
