"""Names of images mean what they mean to docker and podman."""

from __future__ import annotations

import sys

import pytest

from runtime.errors import UsageError
from runtime.registry.reference import parse_reference
from tests.support import CHECKOUT, run

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "docker.io/library/debian:12"),
        ("user/app", "docker.io/user/app:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/debian:12", "docker.io/library/debian:12"),
        ("registry-1.docker.io/a/b", "docker.io/a/b:latest"),
        ("docker://quay.io/a/b:v1", "quay.io/a/b:v1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("host:5000/a/b/c", "host:5000/a/b/c:latest"),
        ("Registry.Example/app", "registry.example/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("a__b/c---d/e.f_g", "docker.io/a__b/c---d/e.f_g:latest"),
        (f"quay.io/app@{DIGEST}", f"quay.io/app@{DIGEST}"),
        (f"quay.io/app:v1@{DIGEST}", f"quay.io/app:v1@{DIGEST}"),
        ("host:5000", "docker.io/library/host:5000"),  # to docker as well
        ("app:V1.2_3-x", "docker.io/library/app:V1.2_3-x"),
    ],
)
def test_a_name_is_completed_as_docker_does(text: str, whole: str) -> None:
    found = parse_reference(text)
    assert str(found) == whole
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no repository"),
        ("quay.io/", "no repository"),
        ("Debian", "must be in lower case"),
        ("quay.io/App:v1", "must be in lower case"),
        ("a//b", "is not a repository"),
        ("a/../b", "is not a repository"),
        ("-a", "is not a repository"),
        ("a___b", "is not a repository"),
        ("a b", "is not a repository"),
        ("a\n", "is not a repository"),
        ("host:99999/a", "is not a host"),
        ("host:x/a", "is not a host"),
        ("user@host.example/a", "not a sha256 digest"),
        ("-x.example/a", "is not a host"),
        ("[::1/a", "is not a host"),
        ("a:", "is not a tag"),
        ("a:.x", "is not a tag"),
        ("a:" + "x" * 129, "is not a tag"),
        ("a@", "not a sha256 digest"),
        ("a@sha256:12", "64 hexadecimal digits"),
        (f"a@sha512:{HEX}{HEX}", "not a sha256 digest"),
        ("a/" * 127 + "a", "more than 255 characters"),
    ],
)
def test_a_name_that_cannot_be_is_refused_by_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert words in caught.value.message
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("debian", "https://registry-1.docker.io/v2/"),
        ("quay.io/a", "https://quay.io/v2/"),
        ("host:5000/a", "https://host:5000/v2/"),
        ("localhost:5000/a", "http://localhost:5000/v2/"),
        ("127.0.0.2:5000/a", "http://127.0.0.2:5000/v2/"),
        ("[::1]:5000/a", "http://[::1]:5000/v2/"),
        ("localhost.example/a", "https://localhost.example/v2/"),
        ("127.0.0.1.example/a", "https://127.0.0.1.example/v2/"),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls(text: str, url: str) -> None:
    assert parse_reference(text).base_url == url


def test_a_digest_counts_more_than_the_tag_before_it() -> None:
    assert parse_reference(f"app:v1@{DIGEST}").target == DIGEST
    assert parse_reference("app:v1").target == "v1"


def test_a_name_can_be_read_without_loading_requests() -> None:
    modules = "reference, credentials, challenge"
    script = (
        f"import sys; from runtime.registry import {modules}; print('requests' in sys.modules)"
    )
    ended = run([sys.executable, "-c", script], cwd=CHECKOUT)
    assert (ended.stdout, ended.stderr) == ("False\n", "")
