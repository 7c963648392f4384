"""bootstrap: a system from nothing, out of 90 packages, beside `dnf --installroot`.

The repository is the one that $PYBUILD_BENCH_REPOSITORY names: a directory with repo/ and the key
RPM-GPG-KEY-test, and the group @core; by default the one that the tests keep. Run it as
tests/bench/run bootstrap.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys

from tests.bench.harness import (
    Benchmark,
    BenchmarkError,
    Command,
    Goal,
    Options,
    measure,
    seen_from,
)
from tests.bench.pack import OURS
from tests.bench.peers import Place, anew, run

_SEED = "dnf --installroot"
_MKOSI = "mkosi"
_KEPT = "/var/cache/pybuild-tests/rpmrepo/devel"
_BASE = "@core python3 procps-ng iproute net-tools which"
_DEVEL = "@development-tools procps-ng python3 which iproute net-tools"


def main() -> int:
    """Set up, measure, print."""
    return run(__doc__, ("dnf", "mkosi", "rpm", "tar"), _measured)


def _measured(options: Options, here: Place) -> list[Benchmark]:
    repository = os.environ.get("PYBUILD_BENCH_REPOSITORY", _KEPT)
    if not os.path.exists(f"{repository}/repo/repodata/repomd.xml"):
        raise BenchmarkError(f"{repository}: no repository (PYBUILD_BENCH_REPOSITORY)")
    return [
        *_bootstraps(options, here, repository),
        _again(options, here),
        _packing(options, here, repository),
    ]


def _bootstraps(options: Options, here: Place, repository: str) -> list[Benchmark]:
    containerfile = _write(here, "base", repository, _BASE)
    here.call(options.pybuild, "lock", "-q", "-f", containerfile, here.path)
    build = f"{options.pybuild} --root $new -q -f {containerfile} -o {here.path}/base-os.tar"
    dnf = " ".join(
        (
            *("dnf", "-y", "-q", "--installroot=$new/root", "--releasever=24"),
            f"--repofrompath=test,file://{repository}/repo --repo=test --setopt=test.gpgcheck=1",
            f"--setopt=test.gpgkey=file://{repository}/RPM-GPG-KEY-test",
            "--setopt=cachedir=$new/cache --setopt=install_weak_deps=0 --nodocs",
            f"install {_BASE}",
        )
    )
    repo = here.write(
        "repos/test.repo",
        f"[test]\nname=test\nbaseurl=file://{repository}/repo\ngpgcheck=1\n"
        f"gpgkey=file://{repository}/RPM-GPG-KEY-test\n",
    )
    mkosi = " ".join(
        (
            "mkdir $new/out $new/work $new/cache && cd $new &&",
            # The repository of the distribution is named and not asked.
            "mkosi --distribution fedora --release 24 --local-mirror file:///none",
            f"--repository-directory {os.path.dirname(repo)} --repositories test",
            "--format directory",
            "--bootable no --with-docs no --base-packages no --workspace-dir $new/work",
            "--cache $new/cache --output-dir $new/out --output root",
            *(f"--package={name}" for name in _BASE.split()),
            "build 2>&1",
        )
    )
    # Each of ours ends with an image's archive: layers made, digests known.
    measured = measure(
        "bootstrap: 90 packages, nothing in any cache",
        [
            anew(here, "pybuild", f"{build} --no-lock {here.path}", "writes an archive"),
            anew(here, "pybuild, locked", f"{build} --locked {here.path}", "writes an archive"),
            anew(here, _SEED, dnf, "a directory"),
            anew(here, _MKOSI, mkosi, "a directory"),
            anew(
                here,
                f"{_SEED}, tar",
                f"{dnf} && tar -C $new/root -cf $new/out.tar .",
                "no image, no digest",
            ),
        ],
        options,
        goals=(Goal(peer=_SEED, at_most=1.0, of_cpu=True),),
        after=here.forget,
    )
    title = "bootstrap from a lock file: the same runs"
    names = ("pybuild, locked", _SEED, _MKOSI, f"{_SEED}, tar")
    goals = (Goal(peer=_SEED, at_most=0.6, of_cpu=True),)
    return [measured, seen_from(measured, title, names, goals)]


def _again(options: Options, here: Place) -> Benchmark:
    containerfile = f"{here.path}/base.Containerfile"
    for mode in ("--no-lock", "--locked"):
        here.call(
            options.pybuild, "-q", mode, "-f", containerfile, "-o", f"{here.path}/{mode}.tar",
            here.path,
        )  # fmt: skip
    return measure(
        "bootstrap, the second time (goal: at most 30 ms)",
        [
            Command(
                name=f"pybuild {mode}",
                argv=(
                    *(options.pybuild, "-q", mode, "-f", containerfile),
                    *("-o", f"{here.path}/{mode}.tar", here.path),
                ),
                omits="nothing changed",
                env=here.env,
            )
            for mode in ("--no-lock", "--locked")
        ],
        options,
    )


def _packing(options: Options, here: Place, repository: str) -> Benchmark:
    containerfile = _write(here, "devel", repository, _DEVEL)
    tree, out = f"{here.path}/devel", f"{here.path}/out.tar"
    here.call(
        options.pybuild, "-q", "-f", containerfile, "-o", f"type=rootfs,dest={tree}", here.path
    )
    python = f"{options.venv}/bin/python"
    return measure(
        "the layer of devel: 107 packages, 376 MB",
        [
            Command(
                name="pack",
                argv=("sh", "-c", f"{python} -c {shlex.quote(OURS)} {tree} {out}"),
                omits="sorts, hashes",
            ),
            Command(name="tar", argv=("tar", "-C", tree, "-cf", out, "."), omits="no digest"),
            Command(
                name="tar, tee, sha256sum",
                argv=("sh", "-c", f"tar -C {tree} -cf - . | tee {out} | sha256sum > /dev/null"),
                omits="three processes at once",
            ),
        ],
        options,
        goals=(Goal(peer="tar, tee, sha256sum", at_most=1.0),),
    )


def _write(here: Place, name: str, repository: str, packages: str) -> str:
    shutil.copy2(f"{repository}/RPM-GPG-KEY-test", f"{here.path}/{name}.key")
    return here.write(
        f"{name}.Containerfile",
        f"FROM scratch\nBOOTSTRAP --releasever=24 --repo=id=test,url=file://{repository}/repo "
        f"--key={name}.key {packages}\n",
    )


if __name__ == "__main__":
    sys.exit(main())
