"""`Namespaces`: which clone flags, and when a process in between is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.errors import ContainerError
from runtime.oci.spec import Namespace, Process, Spec
from runtime.sandbox import syscalls
from runtime.sandbox.namespaces import FLAGS, Namespaces, open_namespaces

PROC_NAMES = {"mount": "mnt", "network": "net"}


def spec(*namespaces: Namespace) -> Spec:
    """A configuration with these namespaces."""
    return Spec(process=Process(args=("x",)), namespaces=namespaces)


def test_a_clone_makes_all_but_the_cgroup_and_time_namespace() -> None:
    every = Namespaces(new=frozenset(FLAGS))
    expected = sum(FLAGS.values()) - syscalls.CLONE_NEWCGROUP - syscalls.CLONE_NEWTIME
    assert every.clone_flags == expected
    assert Namespaces(new=frozenset()).clone_flags == 0


@pytest.mark.parametrize(
    ("new", "joined", "needed"),
    [
        ("", "", False),
        ("user pid mount uts ipc network cgroup", "", False),
        ("pid mount", "network ipc uts mount cgroup", False),
        ("time", "", True),
        ("mount", "pid", True),
        ("mount", "user", True),
        ("mount", "time", True),
        ("user mount", "network", True),
    ],
)
def test_who_needs_a_process_in_between(new: str, joined: str, needed: bool) -> None:
    places = tuple((kind, -1) for kind in joined.split())
    assert Namespaces(new=frozenset(new.split()), joined=places).needs_middle is needed


def test_namespaces_are_sorted_by_whether_they_have_a_path() -> None:
    own = tuple(
        Namespace(type=kind, path=f"/proc/self/ns/{PROC_NAMES.get(kind, kind)}")
        for kind in ("network", "ipc")
    )
    found = open_namespaces(spec(*own, Namespace(type="pid"), Namespace(type="mount")))
    try:
        assert found.new == {"pid", "mount"}
        kinds = [(kind, os.fstat(fd).st_ino) for kind, fd in found.joined]
        assert kinds == [
            ("network", os.stat("/proc/self/ns/net").st_ino),
            ("ipc", os.stat("/proc/self/ns/ipc").st_ino),
        ]
    finally:
        found.close()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/proc/self/ns/uts", "ipc namespace /proc/self/ns/uts: is no ipc namespace"),
        ("/dev/null", "ipc namespace /dev/null: is no ipc namespace"),
        ("/nothing", "ipc namespace /nothing: No such file or directory"),
    ],
)
def test_a_path_of_no_namespace_of_its_kind_leaves_nothing_open(path: str, words: str) -> None:
    before = os.listdir("/proc/self/fd")
    good = Namespace(type="network", path="/proc/self/ns/net")
    with pytest.raises(ContainerError) as caught:
        open_namespaces(spec(good, Namespace(type="ipc", path=path)))
    assert str(caught.value) == words
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_fifo_in_place_of_a_namespace_is_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ContainerError, match="is no ipc namespace"):
        open_namespaces(spec(Namespace(type="ipc", path=str(tmp_path / "fifo"))))
