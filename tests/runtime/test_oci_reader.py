"""The JSON reader: it takes what json takes, from strangers, and names what is wrong."""

from __future__ import annotations

import json
import sys

import pytest

from runtime.errors import ImageError
from runtime.oci.reader import MAX_DOCUMENT, member, optional, parse_json, strings
from tests.support import CHECKOUT, environment, run

DOCUMENTS = [
    b"{}",
    b' \t\r\n{ "a" : [1, -2.5e3, true, false, null, "x"] } \n',
    '{"é": "\\u00e9\\n\\"\\\\ ☃"}'.encode(),
    b'{"a": {"b": {"c": [[], {}, ""]}}}',
    b'{"big": 123456789012345678901234567890}',
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_reads_as_the_json_module_reads_it(document: bytes) -> None:
    assert parse_json(document, "here") == json.loads(document)


BROKEN = {
    "empty": b"",
    "blank": b"  \n",
    "cut short": b'{"a": [1, 2',
    "no value": b'{"a": }',
    "a trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "a raw newline in a string": b'{"a": "x\ny"}',
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "text after the document": b"{} {}",
    "a bracket after the document": b"{}]",
    "arrays nested without end": b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "objects nested without end": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "a number of 10,000 digits": b'{"a": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("document", BROKEN.values(), ids=BROKEN)
def test_what_is_not_json_is_refused_by_name(document: bytes) -> None:
    with pytest.raises(ImageError, match=r"^here: not valid JSON$"):
        parse_json(document, "here")


@pytest.mark.parametrize("document", [b"[]", b'"text"', b"5", b"null", b"true"])
def test_a_document_that_is_no_object_is_refused(document: bytes) -> None:
    with pytest.raises(ImageError, match="here: a JSON object was expected, not"):
        parse_json(document, "here")


def test_a_document_of_over_four_mebibytes_is_refused_unread() -> None:
    with pytest.raises(ImageError, match="here: 4194305 bytes of JSON, at most 4194304"):
        parse_json(b" " * (MAX_DOCUMENT + 1), "here")


def test_a_member_of_the_asked_type_is_returned() -> None:
    assert member({"a": 5}, "a", int, "here") == 5


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("5", int),
        (5.0, int),
        (True, int),
        (None, int),
        (1, str),
        ({}, list),
        (1, bool),
        ([], dict),
    ],
)
def test_a_member_of_another_type_is_shown(value: object, kind: type) -> None:
    with pytest.raises(ImageError, match=r"^here: a is .* expected"):
        member({"a": value}, "a", kind, "here")


def test_a_missing_member_is_named() -> None:
    with pytest.raises(ImageError, match="here: a is missing, int expected"):
        member({}, "a", int, "here")


@pytest.mark.parametrize("table", [{}, {"a": None}])
def test_an_optional_member_may_be_absent_or_null(table: dict[str, object]) -> None:
    assert optional(table, "a", str, "here") is None


def test_an_optional_member_of_another_type_is_refused() -> None:
    with pytest.raises(ImageError, match="here: a is 5, str expected"):
        optional({"a": 5}, "a", str, "here")


def test_an_array_of_strings_is_a_tuple() -> None:
    assert strings({"a": ["x", "y"]}, "a", "here") == ("x", "y")


@pytest.mark.parametrize("values", [[1], ["x", None], [["x"]], [True]])
def test_an_array_with_anything_else_in_it_is_refused(values: list[object]) -> None:
    with pytest.raises(ImageError, match=r"here: a holds .*, only strings expected"):
        strings({"a": values}, "a", "here")


def test_what_is_not_json_is_an_error_also_where_the_json_module_was_never_loaded() -> None:
    script = (
        "import sys; from runtime.oci.reader import parse_json; from runtime.errors import *\n"
        "for text in (b'{', b'{\"a\": \"', b'[1,', b'{1}', b'\"\\\\x\"'):\n"
        "    assert 'json' not in sys.modules\n"
        "    try: parse_json(text, 'here')\n"
        "    except ImageError as error: print(error.message)\n"
    )
    done = run([sys.executable, "-c", script], env=environment(), cwd=CHECKOUT)
    assert (done.stderr, done.stdout) == ("", "here: not valid JSON\n" * 5)
