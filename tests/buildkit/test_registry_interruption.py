"""Pulls and pushes that are killed, that have no room, or that are not alone."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.buildkit.support import Pybuild
from tests.runtime.registry.fault_proxy import (
    Exchange,
    FaultProxy,
    slow_answer,
    slow_request,
)
from tests.runtime.registry.registries import PROGRAM, Registry
from tests.support import run, wait_for

pytestmark = pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed")
LARGE, SMALL = 16 << 20, 1 << 20  # bytes of files in layers


def _build(pybuild: Pybuild, name: str, *words: str) -> dict[str, int]:
    """An image of two layers; their sizes by digest, the large one first."""
    for file, size in (("large", LARGE), ("small", SMALL)):
        (pybuild.context / file).write_bytes(os.urandom(size))
    text = "FROM scratch\nCOPY large /\nCOPY small /\n"
    ended = pybuild.try_build(text, "--root=maker", "-t", name, *words)
    assert ended.status == 0, ended.stderr
    shown = pybuild.run("inspect", "--root=maker", "-f", "{{json .Layers}}", name)
    return {layer["Digest"]: layer["Size"] for layer in json.loads(shown.stdout)}


@contextmanager
def _running(pybuild: Pybuild, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`pybuild` until the end of the block, where it is killed, with its children."""
    process = subprocess.Popen(
        [*pybuild.command, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=pybuild.work, env=pybuild.environment(), **pybuild.caller.switch,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _is_clean(pybuild: Pybuild, store: Path) -> bool:
    left = [*(store / "tmp").iterdir(), *(store / "downloads").iterdir()]
    return not left and pybuild.run("verify-store", "--root", store).status == 0


def _pull_is_killed_and_goes_on(pybuild: Pybuild, seen: FaultProxy) -> None:
    name = f"{seen.host}/killed/pull:{pybuild.directory.name}"
    layers = _build(pybuild, name, "--push")
    large, size = next(iter(layers.items()))
    part = pybuild.store / "downloads" / f"{large.removeprefix('sha256:')}.part"
    seen.on(slow_answer(16, 0.05), "GET", large)
    with _running(pybuild, "pull", name):
        wait_for(lambda: part.exists() and part.stat().st_size > size // 4)
    # Its child, which writes and holds a lock, dies with it.
    with open(part, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    have = part.stat().st_size
    assert size // 4 < have < size
    seen.sent.clear()
    ended = pybuild.run("pull", "-q", name)
    assert ended.status == 0, ended.stderr
    assert seen.sent[next(path for path in seen.sent if large in path)] == size - have
    assert _is_clean(pybuild, pybuild.store)


def test_of_a_pull_that_was_killed_the_next_fetches_the_rest(
    as_root: Pybuild, seen: FaultProxy
) -> None:
    _pull_is_killed_and_goes_on(as_root, seen)


def test_a_users_pull_that_was_killed_goes_on_too(as_user: Pybuild, seen: FaultProxy) -> None:
    _pull_is_killed_and_goes_on(as_user, seen)


def test_of_a_push_that_was_killed_whole_blobs_are_not_sent_again(
    pybuild: Pybuild, seen: FaultProxy, registry: Registry
) -> None:
    repository = "killed/push"
    layers = _build(pybuild, f"{seen.host}/{repository}:1")
    large, small = layers

    def slow_if_large(exchange: Exchange) -> None:
        if exchange.size > LARGE:
            slow_request(16, 0.1)(exchange)
        else:
            exchange.answer(exchange.forward())

    seen.on(slow_if_large, "PUT", "/blobs/", times=3)
    words = ("push", "-q", "--root=maker", f"{seen.host}/{repository}:1")
    with _running(pybuild, *words):
        wait_for(lambda: registry.has_blob(repository, small))
    assert not registry.has_blob(repository, large)
    assert registry.tag(repository, "1") == ""
    there = [digest for digest in layers if registry.has_blob(repository, digest)]
    assert there == [small]
    seen.requests.clear()
    ended = pybuild.run(*words)
    assert ended.status == 0, ended.stderr
    sent = [path for path in seen.asked("PUT", "/blobs/") if "digest=" in path]
    assert any(large.removeprefix("sha256:") in path for path in sent)
    assert not any(small.removeprefix("sha256:") in path for path in sent)
    assert registry.tag(repository, "1") == ended.stdout.strip()
    assert _is_clean(pybuild, pybuild.work / "maker")


def test_two_pulls_at_once_fetch_each_blob_once(pybuild: Pybuild, seen: FaultProxy) -> None:
    name = f"{seen.host}/killed/twice:1"
    _build(pybuild, name, "--push")
    seen.requests.clear()
    seen.on(slow_answer(8, 0.05), "GET", "/blobs/", times=0)
    with _running(pybuild, "pull", name) as one, _running(pybuild, "pull", name) as other:
        assert (one.wait(60), other.wait(60)) == (0, 0)
    blobs = seen.asked("GET", "/blobs/")
    assert len(blobs) == len(set(blobs)) == 3
    assert len(seen.asked("HEAD", "/manifests/1")) == 2  # both were there
    assert _is_clean(pybuild, pybuild.store)


@pytest.mark.needs_root
def test_a_pull_without_room_is_status_5_and_goes_on_when_there_is_some(
    as_root: Pybuild, seen: FaultProxy
) -> None:
    name = f"{seen.host}/killed/full:1"
    _build(as_root, name, "--push")
    as_root.store.mkdir(exist_ok=True)
    mounted = run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", as_root.store])
    assert mounted.status == 0, mounted.stderr
    try:
        ended = as_root.run("pull", name)
        assert ended.status == 5
        assert "No space left on device" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert list((as_root.store / "tmp").iterdir()) == []
        assert as_root.run("verify-store").status == 0
        assert list((as_root.store / "images").iterdir()) == []
        assert run(["mount", "-o", "remount,size=40m", as_root.store]).status == 0
        ended = as_root.run("pull", "-q", name)
        assert ended.status == 0, ended.stderr
        assert _is_clean(as_root, as_root.store)
    finally:
        run(["umount", "-l", as_root.store])
