"""unpack: a layer becomes a directory, where it cannot be mounted in place.

Run it as tests/bench/run unpack.
"""

from __future__ import annotations

import gzip
import hashlib
import shlex
import shutil
import sys

from tests.bench.harness import (
    Benchmark,
    Command,
    Goal,
    Options,
    measure,
)
from tests.bench.peers import Place, anew, run
from tests.bench.trees import make_tree

OURS = """\
import gc, os, sys
from runtime.image.blob import BlobRange, StoredLayer
from runtime.oci.digest import ChainID, DiffID, Digest
from runtime.oci.image import Descriptor
from runtime.store.store import Store
gc.disable()  # as pyrun does
path, kind, digest, diff_id, root = sys.argv[1:]
size = os.stat(path).st_size
layer = StoredLayer(
    blob=BlobRange(path=path, offset=0, size=size),
    descriptor=Descriptor(media_type=kind, digest=Digest(digest), size=size),
    diff_id=DiffID(diff_id),
    where="layer",
)
Store(root).apply(layer, ChainID(diff_id), ())
"""
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("tar", "bsdtar", "podman", "umoci", "skopeo"), _measured)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    layer, archive, layout = _inputs(options, here)
    return [
        _plain(options, here, layer, archive, layout),
        _compressed(options, here, layer, layout),
    ]


def _inputs(options: Options, here: Place) -> tuple[str, str, str]:
    """One tree as a tar, as an image archive of one layer, and as a compressed OCI layout."""
    tree = make_tree(here, "tree")
    layer, archive, layout = (f"{here.path}/{name}" for name in ("layer.tar", "i.tar", "layout"))
    here.call("tar", "-C", tree, "-cf", layer, ".")
    with open(layer, "rb") as plain, gzip.GzipFile(f"{layer}.gz", "wb", 6, mtime=0) as packed:
        shutil.copyfileobj(plain, packed, 1 << 20)
    containerfile = here.write("Containerfile", "FROM scratch\nCOPY tree/ /\n")
    here.call(options.pybuild, "-q", "-f", containerfile, "-o", archive, here.path)
    if shutil.which("skopeo"):
        here.call("skopeo", "copy", "-q", f"docker-archive:{archive}", f"oci:{layout}:x")
    return layer, archive, layout


def _plain(options: Options, here: Place, layer: str, archive: str, layout: str) -> Benchmark:
    podman = "podman --root=$new/root --runroot=$new/run --tmpdir=$new/tmp"
    return measure(
        "unpack: 8,700 files, 172 MB, as they are",
        [
            _ours(options, here, layer, _LAYER),
            anew(here, "tar", f"tar -C $new -xf {layer}", "verifies nothing; one process"),
            anew(here, "bsdtar", f"bsdtar -C $new -xpf {layer}", "as tar"),
            anew(
                here,
                "podman load",
                f"{podman} load -q -i {archive}",
                "of an image that has this one layer; compares digests; overlay storage",
            ),
            _umoci(here, layout),
        ],
        options,
        goals=(
            Goal(peer="tar", at_most=1.0),
            Goal(peer="podman load", at_most=0.7),
            Goal(peer="umoci unpack", at_most=0.4),
        ),
    )


def _compressed(options: Options, here: Place, layer: str, layout: str) -> Benchmark:
    packed = f"{layer}.gz"
    return measure(
        "unpack: the same in gzip",
        [
            _ours(options, here, packed, f"{_LAYER}+gzip"),
            anew(here, "tar -z", f"tar -C $new -xzf {packed}", "verifies nothing; two processes"),
            _umoci(here, layout),
        ],
        options,
        goals=(Goal(peer="umoci unpack", at_most=0.4),),
    )


def _ours(options: Options, here: Place, path: str, kind: str) -> Command:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with open(path.removesuffix(".gz"), "rb") as file:
        diff_id = hashlib.file_digest(file, "sha256").hexdigest()
    python = f"{options.venv}/bin/python"
    words = f"{path} {kind} sha256:{digest} sha256:{diff_id} $new/store"
    return anew(
        here,
        "unpack",
        f"{python} -c {shlex.quote(OURS)} {words}",
        "verifies; on all processors; starts Python",
    )


def _umoci(here: Place, layout: str) -> Command:
    return anew(
        here,
        "umoci unpack",
        f"umoci unpack --image {layout}:x $new/bundle",
        "of a layer in gzip, its only kind here; compares digests; writes an mtree manifest",
    )


if __name__ == "__main__":
    sys.exit(main())
