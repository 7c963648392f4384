"""remote_cache: a build on a machine that has nothing but a cache in a registry, and what it costs
to download the same blobs.

Needs docker-registry, tc and ip. The image has layers of 100 and of 300 MB, libraries and programs
of this machine; the way to the registry lets 1 Gbit/s through, then whatever the machine can. Run
it as tests/bench/run remote_cache.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from runtime.sandbox.syscalls import CLONE_NEWNET, unshare
from tests.bench.harness import Benchmark, BenchmarkError, Goal, Options, measure
from tests.bench.peers import Place, anew, run
from tests.runtime.registry.registries import PROGRAM, Registry, running_registry

_SIZES = {"one": 100 << 20, "two": 300 << 20}  # bytes
_GOAL = (Goal(peer="skopeo copy", at_most=1.2),)
_COMPRESSIONS = ("zstd", "gzip", "uncompressed")
_LINK = ("dev", "lo", "root", "tbf", "rate", "1gbit", "burst", "1mb", "latency", "50ms")
# What a cache mount holds is no part of a key: a build that finds all does not read it.
_TEXT = """\
FROM scratch
COPY busybox /bin/
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN --mount=type=cache,id=one,target=/files cp -a /files /one
RUN --mount=type=cache,id=two,target=/files cp -a /files /two
"""


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("skopeo",), _measured)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    if not (PROGRAM and shutil.which("tc") and shutil.which("ip")):
        raise BenchmarkError("needs docker-registry, tc and ip")
    # A loopback of our own, whose speed nobody else has to do with.
    unshare(CLONE_NEWNET)
    here.call("ip", "link", "set", "lo", "up")
    with running_registry(Path(here.path, "registry")) as registry:
        return list(_benchmarks(options, here, registry))


def _benchmarks(options: Options, here: Place, registry: Registry) -> Iterator[Benchmark]:
    here.write("context/Containerfile", _TEXT)
    os.link(f"{here.rootfs}/bin/busybox", f"{here.path}/context/busybox")
    files = _files()
    store = ("--root", f"{here.path}/builder")
    for name, size in _SIZES.items():
        archive = f"{here.path}/{name}.tar"
        with tarfile.open(archive, "w") as tar:
            while size > 0:
                path = next(files)
                tar.add(path, path.lstrip("/"))
                size -= os.path.getsize(path)
        here.call(options.pybuild, "cache", "import", *store, name, archive)
    context = f"{here.path}/context"
    for compression in _COMPRESSIONS:
        cache = f"{registry.host}/bench/{compression}:1"
        target = f"type=registry,ref={cache},compression={compression}"
        here.call(options.pybuild, *store, "-q", "-t", "app", "--cache-to", target, context)
    here.call("tc", "qdisc", "add", *_LINK)
    yield from _compared(options, here, registry, "at 1 Gbit/s")
    here.call("tc", "qdisc", "del", *_LINK[:3])
    yield from _compared(options, here, registry, "on loopback")


def _compared(options: Options, here: Place, registry: Registry, how: str) -> Iterator[Benchmark]:
    build = f"{options.pybuild} --root $new/store -q -t app {here.path}/context"
    for compression in _COMPRESSIONS:
        cache = f"{registry.host}/bench/{compression}:1"
        copy = "skopeo copy -q --src-tls-verify=false"
        yield measure(
            f"build from a cache, {compression}, {how}",
            [
                anew(
                    here,
                    "pybuild",
                    f"{build} --cache-from {cache}",
                    "layers unpacked and verified, synced to the disk",
                ),
                anew(
                    here,
                    "skopeo copy",
                    f"{copy} docker://{cache} oci:$new/layout:1",
                    "the same blobs as they are, not synced",
                ),
            ],
            options,
            goals=_GOAL,
            after=here.forget,
        )


def _files() -> Iterator[str]:
    """Files of this machine, as systems have them, each once."""
    for root in ("/usr/lib/python3.11", "/usr/lib/python3", "/usr/lib/x86_64-linux-gnu"):
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path) and os.path.isfile(path):
                    yield path
    raise BenchmarkError("this machine has fewer files than are wanted")


if __name__ == "__main__":
    sys.exit(main())
