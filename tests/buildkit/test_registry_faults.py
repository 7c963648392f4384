"""What a registry does wrong ends a command with its documented status, and names stay."""

from __future__ import annotations

import os

import pytest

from tests.buildkit.archived import names_in
from tests.buildkit.support import Pybuild
from tests.claims import detected_lie, registry_fault
from tests.runtime.registry.fault_proxy import (
    Act,
    FaultProxy,
    Rule,
    changed,
    flipped,
    gzipped,
    header,
    status,
)
from tests.runtime.registry.registries import PROGRAM, Registry
from tests.support import Result

pytestmark = [
    pytest.mark.slow,  # the default tier has one of each kind, in test_registry_images
    pytest.mark.skipif(not PROGRAM, reason="docker-registry is not installed"),
]
BLOBS, MANIFESTS, UPLOADS = "/blobs/sha256:", "/manifests/", "/blobs/uploads/"


def _push(pybuild: Pybuild, name: str, text: str, *options: str) -> Result:
    pybuild.add({"a": text})
    return pybuild.try_build("FROM scratch\nCOPY a /\n", "-q", "-t", name, "--push", *options)


# What is not tried again, so that nothing waits: retries are tested beside the client.
PUSHES: dict[str, Rule] = {
    "an upload is forbidden": Rule(status(403), "POST", times=0),
    "no place for an upload": Rule(header("Location", None), "POST", times=0),
    "an upload to the cloud's own address": Rule(
        header("Location", "http://169.254.169.254/"), "POST", times=0
    ),
    "a blob is refused": Rule(status(400), "PUT", UPLOADS, times=0),
    "a blob is not there though it was taken": Rule(status(202), "PUT", UPLOADS, times=0),
    "the manifest is refused": Rule(status(400), "PUT", MANIFESTS, times=0),
}


@registry_fault
@pytest.mark.parametrize("rule", PUSHES.values(), ids=PUSHES)
def test_a_push_that_fails_is_status_4_and_the_tag_stays(
    pybuild: Pybuild, registry: Registry, seen: FaultProxy, rule: Rule
) -> None:
    repository = f"seen/{list(PUSHES.values()).index(rule)}"
    name = f"{seen.host}/{repository}:1"
    before = _push(pybuild, name, "before").stdout.strip()
    seen.rules.append(rule)
    ended = _push(pybuild, name, "after")
    assert ended.status == 4, ended.stderr
    assert ended.stderr.startswith("pybuild: ")
    assert seen.host in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2  # with a hint
    assert registry.tag(repository, "1") == before != ""


PULLS: dict[str, tuple[Act, str]] = {
    "a byte of a blob": (flipped(0), BLOBS),
    "a byte of a manifest": (flipped(50), MANIFESTS),
    "another digest": (header("Docker-Content-Digest", "sha256:" + "0" * 64), MANIFESTS),
    "another type": (header("Content-Type", "application/json"), MANIFESTS),
    "a compression": (changed(gzipped), BLOBS),
}


@detected_lie
@pytest.mark.parametrize(("act", "path"), PULLS.values(), ids=PULLS)
def test_a_pull_of_a_lie_is_status_4_and_nothing_gets_the_name(
    pybuild: Pybuild, seen: FaultProxy, act: Act, path: str
) -> None:
    name = f"{seen.host}/lies/{list(PULLS.values()).index((act, path))}:1"
    assert _push(pybuild, name, "it", "--root=pusher").status == 0
    seen.on(act, "GET", path, times=0)
    ended = pybuild.run("pull", "-q", name)
    assert (ended.status, ended.stdout) == (4, "")
    assert ended.stderr.startswith("pybuild: ")
    assert f"{seen.host}/" in ended.stderr
    assert names_in(pybuild) == {}
    assert os.listdir(pybuild.store / "tmp") == []
