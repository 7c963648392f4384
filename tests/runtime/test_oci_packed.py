"""A packed spec reads back as the same one, and another version's is refused."""

from __future__ import annotations

import marshal

import pytest

from runtime import VERSION
from runtime.oci import packed
from runtime.oci.config import parse_config, read_config
from runtime.oci.packed import pack, unpack
from runtime.oci.spec import Root, User
from runtime.record import Record
from tests.runtime.oci_configs import CONFIGS, FULL


class Stranger(Record):
    """A record of another package."""

    value: int = 1


@pytest.mark.parametrize("name", ["podman-4.3.json", "podman-4.3-userns.json"])
def test_a_configuration_is_unpacked_as_it_was_packed(name: str) -> None:
    spec = read_config(str(CONFIGS / name))
    assert unpack(pack(spec)) == spec
    assert hash(unpack(pack(spec))) == hash(spec)


def test_a_configuration_with_every_field_is_unpacked_as_it_was_packed() -> None:
    spec = parse_config(FULL, "config.json")
    assert unpack(pack(spec)) == spec


def test_a_tuple_of_records_and_plain_values_is_unpacked_as_it_was_packed() -> None:
    value = (User(uid=3), (Root(path="r"), User()), b"\0", None, 1, "\udcfe", frozenset("a"), ())
    assert unpack(pack(value)) == value


def test_a_spec_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pack(User())
    monkeypatch.setattr(packed, "VERSION", "0.0.0")
    with pytest.raises(ValueError, match="another version"):
        unpack(content)


def test_a_record_whose_fields_have_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pack(User())
    monkeypatch.setattr(User, "_fields", ("uid", "gid"))
    with pytest.raises(ValueError, match="User has other fields"):
        unpack(content)


def test_only_types_of_the_runtime_are_loaded() -> None:
    with pytest.raises(ValueError, match="no types that are packed"):
        unpack(pack(Stranger()))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", pack(User())[:-3], marshal.dumps(3), marshal.dumps((VERSION, (), [0]))],
    ids=["empty", "nonsense", "cut short", "a number", "without its type"],
)
def test_damaged_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a packed value"):
        unpack(content)
