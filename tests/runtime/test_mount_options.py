"""`sort_options`: the words of a mount, by whom they are for (config.md "Linux mount options")."""

from __future__ import annotations

import pytest

from runtime.sandbox import syscalls
from runtime.sandbox.mount_options import MountOptions, known_options, sort_options

RDONLY, NOSUID = syscalls.MOUNT_ATTR_RDONLY, syscalls.MOUNT_ATTR_NOSUID
ATIMES = syscalls.MOUNT_ATTR_ATIME


def sort(*options: str) -> MountOptions:
    """Sort the words of one mount."""
    return sort_options(options)


def test_no_options_change_nothing() -> None:
    assert sort() == MountOptions()


@pytest.mark.parametrize(
    ("words", "to_set", "to_clear"),
    [
        (("ro",), RDONLY, 0),
        (("rw",), 0, RDONLY),
        (("ro", "rw"), 0, RDONLY),
        (("rw", "ro"), RDONLY, 0),
        (("ro", "nosuid", "suid"), RDONLY, NOSUID),
        (("noatime",), syscalls.MOUNT_ATTR_NOATIME, ATIMES),
        (("noatime", "strictatime"), syscalls.MOUNT_ATTR_STRICTATIME, ATIMES),
        (("noatime", "relatime"), 0, ATIMES),
    ],
)
def test_the_last_word_about_an_attribute_wins(
    words: tuple[str, ...], to_set: int, to_clear: int
) -> None:
    found = sort(*words)
    assert (found.set_attributes, found.clear_attributes) == (to_set, to_clear)
    assert (found.set_below, found.clear_below) == (0, 0)


def test_the_recursive_words_are_kept_apart_from_the_plain_ones() -> None:
    found = sort("ro", "rnosuid", "rrw")
    assert (found.set_attributes, found.clear_attributes) == (RDONLY, 0)
    assert (found.set_below, found.clear_below) == (NOSUID, RDONLY)


def test_relatime_and_rw_are_no_recursive_forms() -> None:
    assert sort("relatime").set_below == sort("relatime").clear_below == 0
    assert sort("rw").clear_below == 0
    assert sort("remount") == MountOptions()


@pytest.mark.parametrize("word", ["private", "slave", "shared", "unbindable"])
def test_propagation_is_for_one_mount_or_with_r_for_all_below(word: str) -> None:
    one, below = sort(word), sort(f"r{word}")
    assert one.propagation == below.propagation == getattr(syscalls, f"MS_{word.upper()}")
    assert (one.propagation_below, below.propagation_below) == (False, True)


def test_a_later_propagation_replaces_all_of_an_earlier_one() -> None:
    found = sort("rprivate", "slave")
    assert (found.propagation, found.propagation_below) == (syscalls.MS_SLAVE, False)


def test_what_is_not_known_is_for_the_filesystem_in_order() -> None:
    found = sort("size=64k", "ro", "mode=0755", "newinstance", "x=a=b", "y=")
    assert found.data == (
        ("size", "64k"),
        ("mode", "0755"),
        ("newinstance", None),
        ("x", "a=b"),
        ("y", ""),
    )


def test_the_runtimes_own_words() -> None:
    found = sort("rbind", "tmpcopyup", "ridmap", "src-nofollow", "dest-nofollow")
    assert found == MountOptions(
        bind=True,
        recursive=True,
        copy_up=True,
        idmap="ridmap",
        follow_source=False,
        follow_destination=False,
    )
    assert sort("bind") == MountOptions(bind=True)


def test_no_word_that_is_announced_reaches_the_filesystem() -> None:
    words = known_options()
    assert [word for word in words if sort(word).data] == []
    assert len(set(words)) == len(words)
