"""What a registry asks for is understood as RFC 9110 has it."""

from __future__ import annotations

import pytest

from runtime.registry.challenge import parse_challenges


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t?x=1",service="a b",scope="repository:a:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://a/t?x=1",
                        "service": "a b",
                        "scope": "repository:a:pull,push",
                    },
                )
            ],
        ),
        (
            'Negotiate, bearer Realm=r , service="q\\"q", BASIC realm="b"',
            [
                ("negotiate", {}),
                ("bearer", {"realm": "r", "service": 'q"q'}),
                ("basic", {"realm": "b"}),
            ],
        ),
        ("Basic", [("basic", {})]),
        ("", []),
        (", ,", []),
        ('Bearer realm="unfinished', [("bearer", {})]),
        ("\x00", []),
    ],
)
def test_challenges_are_told_apart(header: str, expected: list[tuple[str, object]]) -> None:
    found = parse_challenges(header)
    assert [(one.scheme, dict(one.parameters)) for one in found][: len(expected)] == expected
