"""The packages of BOOTSTRAP from a real server: fetched once, in parallel, resumed, verified."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.buildkit.bootstraps import fails, installed
from tests.buildkit.support import Pybuild, processes
from tests.buildkit.web import Request, Site, running_site
from tests.support import run

pytestmark = pytest.mark.needs_program("dnf", "rpm", "createrepo_c")

PACKAGES = "hello-system hello-release busybox"


@pytest.fixture
def site(pybuild: Pybuild, hello_repository: Path) -> Iterator[Site]:
    """A server with the repository of the example hello; the context has its key."""
    shutil.copy2(hello_repository / "RPM-GPG-KEY-hello", pybuild.context)
    with running_site() as site:
        site.add(hello_repository / "repo")
        yield site


def _text(site: Site, packages: str = PACKAGES) -> str:
    repository = f"--repo=id=hello,url={site.url} --key=RPM-GPG-KEY-hello"
    return f"FROM scratch\nBOOTSTRAP --releasever=1 {repository} {packages}\n"


def _asked(site: Site, end: str = ".rpm") -> list[str]:
    """The paths that were asked for, with their number of times."""
    return sorted(request.path for request in site.requests if request.path.endswith(end))


def _largest(site: Site) -> str:
    return max((p for p in site.files if p.endswith(".rpm")), key=lambda p: len(site.files[p]))


def _packages(pybuild: Pybuild) -> list[str]:
    return sorted(name for name in os.listdir(pybuild.store / "packages") if "signed" not in name)


def test_a_package_is_fetched_once_for_all_builds(pybuild: Pybuild, site: Site) -> None:
    pybuild.build(_text(site))
    once = _asked(site)
    assert len(once) == len(set(once)) > 2
    pybuild.build(_text(site, "busybox hello-release"), "--no-cache")
    assert _asked(site) == once
    assert [name.partition(".")[2] for name in _packages(pybuild)] == ["rpm"] * len(once)


def test_transfers_go_on_at_the_same_time(pybuild: Pybuild, site: Site) -> None:
    together = threading.Barrier(3, timeout=20)
    met: list[str] = []

    def answer(request: Request) -> None:
        if request.path.endswith(".rpm") and len(met) < 3:
            met.append(request.path)
            together.wait()
        site.serve(request)

    site.answer = answer
    pybuild.build(_text(site))
    assert len(met) == 3


def test_a_transfer_that_breaks_off_goes_on_where_it_was(pybuild: Pybuild, site: Site) -> None:
    path = _largest(site)
    content = site.files[path]
    ranges: list[str | None] = []

    def answer(request: Request) -> None:
        if request.path != path:
            site.serve(request)
            return
        ranges.append(request.headers["Range"])
        if len(ranges) == 1:
            request.send(content[:1000], length=len(content))
            return
        begin = int(ranges[-1].removeprefix("bytes=").removesuffix("-")) if ranges[-1] else 0
        where = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        request.send(content[begin:], 206, Content_Range=where)

    site.answer = answer
    pybuild.build(_text(site))
    assert ranges == [None, "bytes=1000-"]


@pytest.mark.slow
def test_the_next_build_resumes_what_this_one_could_not_fetch(
    pybuild: Pybuild, site: Site
) -> None:
    path = _largest(site)
    content = site.files[path]
    seen: list[str | None] = []

    def broken(request: Request) -> None:
        if request.path == path:
            seen.append(request.headers["Range"])
            if request.headers["Range"]:
                request.send(b"", 206, length=9, Content_Range=f"bytes 500-508/{len(content)}")
            else:
                request.send(content[:500], length=len(content))
        else:
            site.serve(request)

    site.answer = broken
    said = fails(pybuild, _text(site), 4, "package busybox-", "the connection ended after 500")
    assert "Containerfile:2:33: " in said.stderr
    seen.clear()
    site.answer = broken
    fails(pybuild, _text(site), 4)
    assert seen[0] == "bytes=500-"
    site.answer = site.serve
    assert installed(pybuild.build(_text(site))) >= {"busybox"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(pybuild: Pybuild, site: Site, status: int) -> None:
    path = _largest(site)
    left = [status]

    def answer(request: Request) -> None:
        if request.path == path and left:
            request.send(status=left.pop())
        else:
            site.serve(request)

    site.answer = answer
    pybuild.build(_text(site))


def test_a_package_that_the_server_lost_is_named(pybuild: Pybuild, site: Site) -> None:
    path = _largest(site)
    del site.files[path]
    said = fails(pybuild, _text(site), 4, "package busybox-", f"{site.url}{path}: 404")
    assert "the repository changed meanwhile" in said.stderr


@pytest.mark.parametrize("lie", ["other", "longer", "shorter"])
def test_a_package_that_is_not_the_promised_one_is_not_installed(
    pybuild: Pybuild, site: Site, lie: str
) -> None:
    path = _largest(site)
    content = site.files[path]
    site.files[path] = {
        "other": content[:-4] + b"evil",
        "longer": content + b"more",
        "shorter": content[:-100],
    }[lie]
    fails(pybuild, _text(site), 4, "package busybox-")
    for name in _packages(pybuild):
        if not name.endswith(".part"):
            digest = run(["sha256sum", pybuild.store / "packages" / name]).stdout.split()[0]
            assert name == f"{digest}.rpm"
    site.files[path] = content
    pybuild.build(_text(site))


def test_a_changed_repository_with_the_same_set_is_resolved_and_not_installed(
    pybuild: Pybuild, site: Site, hello_repository: Path, tmp_path: Path
) -> None:
    first = pybuild.build(_text(site, "busybox"))
    for name in os.listdir(hello_repository / "repo"):
        if name.endswith(".rpm") and not name.startswith("hello-extra"):
            shutil.copy2(hello_repository / "repo" / name, tmp_path)
    with open(tmp_path / "comps.xml", "w", encoding="utf-8") as file:
        file.write("<comps><group><id>new</id><name>new</name></group></comps>\n")
    made = run(["createrepo_c", "-q", "-g", "comps.xml", tmp_path])
    assert made.status == 0, made.stderr
    (tmp_path / "comps.xml").unlink()
    for path in [path for path in site.files if "/repodata/" in path]:
        del site.files[path]
    site.add(tmp_path)
    before = _asked(site)
    ended = pybuild.try_build(_text(site, "busybox"))
    assert ended.status == 0, ended.stderr
    assert "the same packages as before: their layer is there" in ended.stderr
    assert _asked(site) == before
    assert pybuild.build(_text(site, "busybox")).layers == first.layers


def test_two_builds_at_once_fetch_each_package_once(pybuild: Pybuild, site: Site) -> None:
    pybuild.write(_text(site))
    slow = _largest(site)

    def answer(request: Request) -> None:
        if request.path == slow:
            time.sleep(0.5)
        site.serve(request)

    site.answer = answer
    with ThreadPoolExecutor(2) as pool:
        outputs = [pybuild.work / f"{n}.tar" for n in range(2)]
        ends = [pool.submit(pybuild.run, "--no-cache", "-o", o, pybuild.context) for o in outputs]
        for end in ends:
            assert end.result().status == 0, end.result().stderr
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert _asked(site) == sorted(set(_asked(site)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_stopped_while_it_fetches_leaves_nothing_but_what_can_be_resumed(
    pybuild: Pybuild, site: Site, number: int
) -> None:
    path = _largest(site)
    content = site.files[path]
    reached, leave = threading.Event(), threading.Event()

    def answer(request: Request) -> None:
        if request.path != path or leave.is_set():
            site.serve(request)
            return
        request.send(content[:1000], length=len(content))
        request.wfile.flush()
        reached.set()
        leave.wait(20)

    site.answer = answer
    process = pybuild.start(_text(site))
    try:
        assert reached.wait(30)
        time.sleep(0.2)
        process.send_signal(number)
        process.wait(10)
    finally:
        leave.set()
    until = time.monotonic() + 10
    while processes(pybuild.store):
        assert time.monotonic() < until, processes(pybuild.store)
        time.sleep(0.05)
    assert not pybuild.output.exists()
    pybuild.build(_text(site))
    assert os.listdir(pybuild.store / "tmp") == []


def test_a_disk_that_is_full_is_said_and_the_next_build_goes_on(
    pybuild: Pybuild, site: Site
) -> None:
    """The store on a filesystem with less room than the packages take."""
    pybuild.store.mkdir(exist_ok=True)
    size = ["-o", "size=600k", "tmpfs", str(pybuild.store)]
    subprocess.run(["mount", "-t", "tmpfs", *size], check=True)
    try:
        ended = pybuild.try_build(_text(site))
        assert ended.status == 5, ended.stderr
        assert "No space left on device" in ended.stderr
        assert "Traceback" not in ended.stderr
        subprocess.run(["mount", "-o", "remount,size=200m", pybuild.store], check=True)
        pybuild.build(_text(site))
    finally:
        subprocess.run(["umount", "-l", pybuild.store], check=True)
