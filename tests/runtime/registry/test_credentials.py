"""Credentials are found where podman and docker put them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import RegistryError
from runtime.registry.credentials import Credentials, find_credentials
from runtime.registry.reference import parse_reference


class Home:
    """A user's files, and the environment that leads to them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"HOME": str(root), "XDG_RUNTIME_DIR": str(root / "run")}

    def write(self, path: str, document: object) -> Path:
        """A file with JSON."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(document))
        return place

    def find(self, name: str) -> Credentials | None:
        """What is known for an image."""
        return find_credentials(parse_reference(name), self.environ)

    def user(self, name: str) -> str:
        """Who asks for an image."""
        found = self.find(name)
        return found.username if found else ""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home without any file."""
    return Home(tmp_path)


def entry(user: str, password: str = "secret") -> dict[str, str]:
    """An entry of `auths`."""
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def auths(**users: str) -> dict[str, Any]:
    """A file in which each host has a user; `__` is a dot."""
    return {"auths": {host.replace("__", "."): entry(user) for host, user in users.items()}}


def helper(home: Home, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Install docker-credential-test."""
    path = home.root / "bin/docker-credential-test"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\nread -r server\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


def test_files_count_in_their_order(home: Home) -> None:
    places = {
        "docker": ".docker/config.json",
        "config": ".config/containers/auth.json",
        "run": "run/containers/auth.json",
    }
    assert home.find("a.example/x") is None
    for user, path in places.items():
        home.write(path, auths(a__example=user))
        assert home.user("a.example/x") == user
    home.environ["REGISTRY_AUTH_FILE"] = str(home.write("own.json", auths(a__example="own")))
    assert home.user("a.example/x") == "own"


def test_variables_name_other_directories(home: Home) -> None:
    home.write(".docker/config.json", auths(a__example="home"))
    home.environ["DOCKER_CONFIG"] = str(home.root / "docker")
    assert home.user("a.example/x") == ""
    home.write("docker/config.json", auths(a__example="docker"))
    assert home.user("a.example/x") == "docker"
    home.environ["XDG_CONFIG_HOME"] = str(home.root / "config")
    home.write("config/containers/auth.json", auths(a__example="config"))
    assert home.user("a.example/x") == "config"


def test_a_file_that_does_not_know_the_registry_leaves_it_to_the_next(home: Home) -> None:
    home.write("run/containers/auth.json", auths(b__example="b"))
    home.write(".docker/config.json", auths(a__example="a"))
    assert home.user("a.example/x") == "a"


def test_the_longest_key_counts(home: Home) -> None:
    document = {
        "auths": {
            "a.example": entry("host"),
            "a.example/ns": entry("namespace"),
            "a.example/ns/app": entry("repository"),
        }
    }
    home.write(".docker/config.json", document)
    assert home.user("a.example/ns/app:v1") == "repository"
    assert home.user("a.example/ns/other") == "namespace"
    assert home.user("a.example/nsx") == "host"
    assert home.user("a.example:5000/ns/app") == ""


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_has_several_names(home: Home, key: str) -> None:
    home.write(".docker/config.json", {"auths": {key: entry("me")}})
    assert home.user("debian") == "me"
    assert home.user("quay.io/debian") == ""


def test_an_old_key_with_a_scheme_is_its_host(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {"https://a.example/v2/": entry("me")}})
    assert home.user("a.example/x") == "me"


def test_a_password_may_hold_colons_and_other_scripts(home: Home) -> None:
    home.write(".docker/config.json", {"auths": {"a.example": entry("me", "a:b:ü")}})
    found = home.find("a.example/x")
    assert found is not None
    assert (found.username, found.password) == ("me", "a:b:ü")
    assert "a:b" not in repr(found)
    assert found.source.endswith(".docker/config.json")


def test_an_identity_token_comes_along(home: Home) -> None:
    document = {"auths": {"a.example": entry("<token>", "") | {"identitytoken": "T"}}}
    home.write(".docker/config.json", document)
    found = home.find("a.example/x")
    assert found is not None
    assert found.identity_token == "T"


def test_a_helper_is_asked_for_its_host(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(home, monkeypatch, 'printf \'{"Username":"%s","Secret":"s"}\' "$server"')
    home.write(
        ".docker/config.json",
        {"credHelpers": {"a.example": "test"}, "auths": {"a.example": entry("file")}},
    )
    found = home.find("a.example/x")
    assert found is not None
    assert (found.username, found.password) == ("a.example", "s")
    assert found.source == "docker-credential-test"


def test_the_store_of_all_credentials_is_asked_last(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(home, monkeypatch, 'printf \'{"Username":"%s","Secret":"s"}\' "$server"')
    document = {"credsStore": "test", "auths": {"a.example": {}, "b.example": entry("file")}}
    home.write(".docker/config.json", document)
    assert home.user("a.example/x") == "a.example"
    assert home.user("b.example/x") == "file"
    assert home.user("debian") == "https://index.docker.io/v1/"


def test_a_helper_may_give_an_identity_token(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(home, monkeypatch, 'echo \'{"Username":"<token>","Secret":"T"}\'')
    home.write(".docker/config.json", {"credsStore": "test"})
    found = home.find("a.example/x")
    assert found is not None
    assert (found.username, found.identity_token) == ("", "T")


def test_a_helper_that_knows_nothing_is_no_error(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(home, monkeypatch, "echo credentials not found in native keychain; exit 1")
    home.write(".docker/config.json", {"credsStore": "test"})
    assert home.find("a.example/x") is None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo the keyring is locked; exit 1", "the keyring is locked (status 1)"),
        ("printf '\\033[31mred'; exit 3", "\N{REPLACEMENT CHARACTER}[31mred (status 3)"),
        ("echo topsecret", "is not JSON with Username and Secret"),
        ('echo \'{"Username":1,"Secret":"topsecret"}\'', "is not JSON with Username and Secret"),
    ],
)
def test_a_helper_that_fails_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    helper(home, monkeypatch, script)
    home.write(".docker/config.json", {"credsStore": "test"})
    with pytest.raises(RegistryError) as caught:
        home.find("a.example/x")
    assert words in caught.value.message
    assert "docker-credential-test" in caught.value.message
    assert "topsecret" not in caught.value.message


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"credsStore": "nothing-of-that-name"}, "no such program"),
        ({"credsStore": "../../bin/sh"}, "is not a credential helper"),
        ({"credHelpers": ["a"]}, "credHelpers is not an object"),
        ({"auths": {"a.example": {"auth": "%topsecret"}}}, "is not USER:PASSWORD in base64"),
        ({"auths": {"a.example": {"auth": "dG9wc2VjcmV0"}}}, "is not USER:PASSWORD in base64"),
        ({"auths": {"a.example": {"identitytoken": 7}}}, "credentials that are not text"),
    ],
)
def test_a_file_that_says_nonsense_is_named(home: Home, document: object, words: str) -> None:
    path = home.write(".docker/config.json", document)
    with pytest.raises(RegistryError) as caught:
        home.find("a.example/x")
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert "topsecret" not in caught.value.message


def test_a_file_that_is_not_json_is_named(home: Home) -> None:
    path = home.write(".docker/config.json", {})
    path.write_text('{"auths": topsecret')
    with pytest.raises(RegistryError) as caught:
        home.find("a.example/x")
    assert caught.value.message == f"{path}: not valid JSON"


def test_the_file_of_the_variable_must_be_there(home: Home) -> None:
    home.environ["REGISTRY_AUTH_FILE"] = str(home.root / "missing.json")
    with pytest.raises(RegistryError, match=r"missing\.json: No such file or directory"):
        home.find("a.example/x")
