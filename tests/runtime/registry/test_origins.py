"""What a store remembers of registries: where its blobs are known to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.oci.digest import Digest, digest_of
from runtime.registry.origins import neighbours, origins_of, remember
from runtime.registry.reference import parse_reference
from runtime.store.store import Store

BLOB = digest_of(b"a blob")
BASE, APP = parse_reference("reg.example:5000/team/base"), parse_reference("reg.example:5000/app")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A new store."""
    return Store(str(tmp_path / "store"))


def _names(store: Store, digest: Digest = BLOB) -> list[str]:
    return [origin.name for origin in origins_of(store, digest)]


def test_the_latest_repository_comes_first_and_each_is_there_once(store: Store) -> None:
    for reference in (BASE, APP, BASE):
        remember(store, reference, [BLOB])
    assert _names(store) == [BASE.name, APP.name]
    assert {origin.digest for origin in origins_of(store, BLOB)} == {BLOB}
    assert _names(store, digest_of(b"another")) == []


def test_a_record_is_small_however_many_repositories_have_a_blob(store: Store) -> None:
    for number in range(50):
        name = f"reg.example/{'x' * 200}/{number}"
        remember(store, parse_reference(name), [BLOB])
    assert [name.rpartition("/")[2] for name in _names(store)] == [
        str(n) for n in range(49, 41, -1)
    ]
    assert Path(store.root, "origins", BLOB.hex).stat().st_size < 4096


def test_a_neighbour_is_another_repository_of_the_same_registry(store: Store) -> None:
    remember(store, BASE, [BLOB])
    remember(store, parse_reference("reg.example/other-port"), [BLOB])
    remember(store, parse_reference("docker.io/library/base"), [BLOB])
    found = neighbours(store, APP)(BLOB)
    assert found is not None
    assert found.name == BASE.name
    assert neighbours(store, BASE)(BLOB) is None
    assert neighbours(store, parse_reference("other.example/app"))(BLOB) is None


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff", b"{}", b"7", b"null", b'["ab", 1]', b'[["reg.example", "UPPER"]]'),
        *(
            b'[["reg.example/evil", "x@y"]]',
            b"[" * 7000,
            b'[["reg.example", "a"' + b" " * 9000 + b"]]",
        ),
    ],
)
def test_a_damaged_record_is_none_and_is_replaced(store: Store, content: bytes) -> None:
    path = Path(store.root, "origins", BLOB.hex)
    path.write_bytes(content)
    assert _names(store) == []
    remember(store, APP, [BLOB])
    assert _names(store)[0] == APP.name


def test_a_store_that_cannot_be_written_remembers_nothing(store: Store) -> None:
    Path(store.root, "origins").rmdir()
    Path(store.root, "origins").write_text("in the way")
    remember(store, APP, [BLOB])
    assert _names(store) == []


def test_a_store_of_before_gets_its_folder(store: Store) -> None:
    Path(store.root, "origins").rmdir()
    remember(store, APP, [BLOB])
    assert _names(store) == [APP.name]
