"""What containers need and have written, for pybuild du, prune, rmi and reset."""

from __future__ import annotations

import json

import pytest

from tests.buildkit.support import Pybuild
from tests.support import BUSYBOX, Result, run_pyrun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = "FROM scratch\nCOPY sh /bin/\nCOPY f /g\n"
SCRIPT = "read x < /g; echo $x; echo more >> /written"
both = pytest.mark.parametrize("anybody", ["root", "user"], indirect=True)


@pytest.fixture
def kept(anybody: Pybuild) -> Iterator[Pybuild]:
    """A container of an image that has a name."""
    anybody.add({"sh": (BUSYBOX.read_bytes(), 0o755), "f": "1\n"})
    anybody.build(TEXT, "-t", "kept", "-o", "image.tar")
    made = _pyrun(anybody, "create", "--name", "one", "kept", "/bin/sh", "-c", SCRIPT)
    assert made.status == 0, made
    yield anybody
    _pyrun(anybody, "rm", "-f", "--all")


def _pyrun(pybuild: Pybuild, *arguments: str) -> Result:
    return run_pyrun(*arguments, store=pybuild.store, caller=pybuild.caller)


def _use(pybuild: Pybuild) -> dict[str, dict[str, int]]:
    ended = pybuild.run("du", "--format=json")
    assert ended.status == 0, ended.stderr
    return {row.pop("type"): row for row in json.loads(ended.stdout)["use"]}


def _starts(pybuild: Pybuild) -> None:
    started = _pyrun(pybuild, "start", "-a", "one")
    assert (started.status, started.stdout) == (0, "1\n"), started


@both
def test_a_container_of_an_image_that_was_removed_and_pruned_starts(kept: Pybuild) -> None:
    assert kept.run("rmi", "kept").status == 0
    assert kept.run("prune", "--all").status == 0
    _starts(kept)
    assert _pyrun(kept, "rm", "one").status == 0
    assert kept.run("prune", "--all").status == 0
    assert sum(row["count"] for row in _use(kept).values()) == 0


@both
def test_a_container_keeps_its_image_when_another_takes_the_name(kept: Pybuild) -> None:
    kept.add({"f": "2\n"})
    kept.build(TEXT, "-t", "kept", "-o", "image.tar")
    assert kept.run("prune", "--all").status == 0
    _starts(kept)
    fresh = _pyrun(kept, "run", "--rm", "kept", "/bin/sh", "-c", SCRIPT)
    assert fresh.stdout == "2\n"


@both
def test_a_container_whose_layers_are_gone_gets_them_from_its_blobs(kept: Pybuild) -> None:
    import shutil

    assert kept.run("rmi", "kept").status == 0
    for name in ("layers", "indexes", "known"):
        shutil.rmtree(kept.store / name)
    for name in ("layers", "indexes"):
        (kept.store / name).mkdir()
        if kept.caller.uid:
            shutil.chown(kept.store / name, kept.caller.uid, kept.caller.gid)
    _starts(kept)


@both
def test_a_container_that_runs_does_not_keep_anybody_from_pruning(kept: Pybuild) -> None:
    script = "until [ -e /go ]; do read -t 1 x < /dev/zero; done"
    running = _pyrun(kept, "run", "-d", "--name", "two", "kept", "/bin/sh", "-c", script)
    assert running.status == 0
    assert kept.run("rmi", "kept").status == 0
    assert kept.run("prune", "--all").status == 0
    _starts(kept)
    refused = kept.run("reset", "--force")
    assert refused.status == 5
    assert "container two runs" in refused.stderr
    assert _pyrun(kept, "rm", "-f", "two").status == 0
    assert kept.run("reset", "--force").status == 0
    assert list(kept.store.iterdir()) == []


@both
def test_du_shows_what_containers_have_written(kept: Pybuild) -> None:
    use = _use(kept)["containers"]
    assert use["count"] == 1
    _starts(kept)
    assert _use(kept)["containers"]["size"] > use["size"]
    assert _use(kept)["containers"]["reclaimable"] == 0
