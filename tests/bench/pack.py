"""pack: a directory tree becomes a layer's tar and its digest.

Run it as tests/bench/run pack.
"""

from __future__ import annotations

import shlex
import sys

from tests.bench.harness import (
    Benchmark,
    Command,
    Goal,
    Options,
    measure,
)
from tests.bench.peers import Place, run
from tests.bench.trees import make_tree

OURS = """\
import os, sys
from buildkit.changeset import pack
fd = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
pack(sys.argv[1], None, fd)
"""
TARFILE = """\
import sys, tarfile
with tarfile.open(sys.argv[2], "w") as archive:
    archive.add(sys.argv[1], ".")
"""


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("tar", "bsdtar"), _measured)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    tree = make_tree(here, "tree")
    out = f"{here.path}/out.tar"
    python = f"{options.venv}/bin/python"
    pipe = f"tar -C {tree} -cf - . | tee {out} | sha256sum > /dev/null"
    benchmark = measure(
        "pack: 8,700 files, 172 MB",
        [
            Command(
                name="pack",
                argv=("sh", "-c", f"{python} -c {shlex.quote(OURS)} {tree} {out}"),
                omits="sorts, drops what is no part of an image, hashes",
            ),
            Command(
                name="tar, tee, sha256sum",
                argv=("sh", "-c", pipe),
                omits="in the order of the directories; three processes at once",
            ),
            Command(
                name="tar",
                argv=("tar", "-C", tree, "-cf", out, "."),
                omits="no digest",
            ),
            Command(
                name="bsdtar",
                argv=("bsdtar", "-C", tree, "-cf", out, "."),
                omits="no digest",
            ),
            Command(
                name="Python's tarfile",
                argv=(python, "-c", TARFILE, tree, out),
                omits="no digest",
            ),
        ],
        options,
        goals=(Goal(peer="tar, tee, sha256sum", at_most=0.5),),
    )
    return [benchmark]


if __name__ == "__main__":
    sys.exit(main())
