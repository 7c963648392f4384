"""Digests and chain identities, against the image-spec's own words and values."""

from __future__ import annotations

import hashlib

import pytest

from runtime.errors import ImageError
from runtime.oci.digest import DiffID, Digest, chain_ids, digest_of

A, B, C = (f"sha256:{hashlib.sha256(name).hexdigest()}" for name in (b"A", b"B", b"C"))


def test_a_digest_is_its_text() -> None:
    assert Digest.parse(A) == A
    assert Digest.parse(A).hex == A.removeprefix("sha256:")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "../" * 21 + "a",
        "sha256:" + "a" * 63 + "\n",
        "sha512:" + "a" * 128,
        "a" * 64,
        None,
        5,
        ["sha256:" + "a" * 64],
    ],
)
def test_anything_but_a_sha256_digest_is_refused(text: object) -> None:
    with pytest.raises(ImageError, match="not a sha256 digest"):
        Digest.parse(text)


def test_the_digest_of_a_document_is_that_of_sha256sum() -> None:
    assert digest_of(b"abc") == (
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_the_chain_of_one_layer_is_its_diff_id() -> None:
    # config.md: ChainID(L0) = DiffID(L0)
    assert chain_ids((DiffID(A),)) == (A,)


def test_the_chain_of_more_layers_hashes_the_chain_below_and_the_diff_id() -> None:
    # config.md: ChainID(L0|...|Ln) = Digest(ChainID(L0|...|Ln-1) + " " + DiffID(Ln))
    two = "sha256:" + hashlib.sha256(f"{A} {B}".encode()).hexdigest()
    three = "sha256:" + hashlib.sha256(f"{two} {C}".encode()).hexdigest()
    assert chain_ids((DiffID(A), DiffID(B), DiffID(C))) == (A, two, three)


def test_the_same_layer_has_another_chain_above_another_layer() -> None:
    assert chain_ids((DiffID(A), DiffID(C)))[1] != chain_ids((DiffID(B), DiffID(C)))[1]


def test_no_layers_have_no_chain() -> None:
    assert chain_ids(()) == ()
