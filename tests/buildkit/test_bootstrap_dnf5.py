"""BOOTSTRAP --manager=dnf5: written from its documentation, and not tried with a real dnf5.

What is tried: its command lines, word by word, and all of the rest with a program in its place
that hands these to dnf 4.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from buildkit.bootstrap.asked import Asked
from buildkit.bootstrap.dnf5 import arguments, common, enabling_arguments
from buildkit.bootstrap.repositories import Repositories
from buildkit.bootstrap.secrets import Secrets
from buildkit.errors import BuildError
from buildkit.steps import BootstrapStep
from tests.buildkit.bootstraps import add_tiny, fails, installed
from tests.buildkit.planning import bootstrap_step
from tests.buildkit.support import Pybuild, make_pybuild


def _step(words: str) -> BootstrapStep:
    return bootstrap_step(f"FROM scratch\nBOOTSTRAP --repo=r {words}")


def _asked(step: BootstrapStep) -> Asked:
    secrets = Secrets(files={}, variables={})
    none = Repositories(sections=(), metadata=(), inputs=(), secrets=secrets, variables={})
    return Asked(
        packages=step.packages, files=(), excludes=step.excludes, repositories=none, inputs=()
    )


def _arguments(words: str, *files: str) -> list[str]:
    """The arguments after those that every call has."""
    step = _step(words)
    argv = arguments(step, _asked(step), "/r", "/s", files)
    start = common(step, "/r", "/s")
    assert argv[: len(start)] == start
    return list(argv[len(start) :])


def test_every_place_is_ours() -> None:
    assert common(_step("a"), "/r", "/s") == (
        *("dnf5", "--config=/s/dnf.conf", "--installroot=/r", "--setopt=reposdir=/s/repos"),
        *("--setopt=varsdir=/s/vars", "--setopt=pluginconfpath=/s/none"),
        *("--setopt=cachedir=/s/cache", "--setopt=system_cachedir=/s/cache"),
        *("--setopt=persistdir=/s/persist", "--setopt=logdir=/s/log"),
        *("--setopt=install_weak_deps=0", "--setopt=best=1", "--setopt=plugins=0", "--refresh"),
    )


def test_nothing_is_installed_and_packages_go_to_a_directory() -> None:
    assert _arguments("bash @core", "/s/files/0.rpm") == [
        *("--setopt=destdir=/s/fetched", "install", "--assumeyes", "--downloadonly"),
        *("bash", "@core", "/s/files/0.rpm"),
    ]


def test_environments_are_named_as_groups_are() -> None:
    assert _arguments("@^minimal-environment")[-1] == "@minimal-environment"


def test_packages_are_left_out_and_groups_cannot_be() -> None:
    assert "--exclude=a*" in _arguments("--exclude=a* b")
    with pytest.raises(BuildError, match="cannot leave out a group: -@core"):
        _arguments("--exclude=@core b")


def test_flags_have_their_options() -> None:
    words = "--releasever=41 --arch=aarch64 --weak --setopt=a.b=c --setopt=d=e x"
    added = set(common(_step(words), "/r", "/s")) - set(common(_step("x"), "/r", "/s"))
    assert added == {
        *("--releasever=41", "--forcearch=aarch64", "--setopt=install_weak_deps=1"),
        *("--setopt=a.b=c", "--setopt=d=e"),
    }


def test_streams_of_modules_are_enabled_first() -> None:
    step = _step("--module=a:1 --module=b:2 c")
    argv = enabling_arguments(step, "/r", "/s")
    assert argv[len(common(step, "/r", "/s")) :] == (
        *("module", "enable", "--assumeyes", "a:1", "b:2"),
    )


# A dnf5 by dnf 4: what its documentation says it does with what we say to it.
_STAND_IN = r"""#!/usr/bin/python3
import os, subprocess, sys
arguments, argv = sys.argv[1:], ["dnf", "--nogpgcheck"]
for argument in arguments:
    name, _, value = argument.partition("=")
    if argument.startswith("--setopt=destdir="):
        argv.append("--downloaddir=" + argument.partition("destdir=")[2])
    elif argument.startswith("--setopt=system_cachedir="):
        pass
    elif name == "--queryformat":
        form = value.replace("%{full_nevra}", "%{name}-%{epoch}:%{version}-%{release}.%{arch}")
        argv.append("--queryformat=" + form.rstrip("\n"))
        argv.append("--quiet")
    else:
        argv.append(argument)
sys.exit(subprocess.run(argv).returncode)
"""


@pytest.fixture
def with_stand_in(pybuild: Pybuild, public: Path) -> Pybuild:
    """`pybuild` on a machine that has the program in the place of dnf5."""
    for name in ("upper", "work"):
        (public / name).mkdir()
    (public / "upper/dnf5").write_text(_STAND_IN)
    (public / "upper/dnf5").chmod(0o755)
    how = f"lowerdir=/usr/bin,upperdir={public}/upper,workdir={public}/work"
    script = f'mount -t overlay -o {how} o /usr/bin && exec "$@"'
    launcher = ("unshare", "--mount", "sh", "-c", script, "sh")
    return make_pybuild(pybuild.directory, pybuild.caller, launcher=launcher)


@pytest.mark.needs_root
@pytest.mark.needs_program("dnf", "rpm")
def test_what_dnf5_fetches_is_installed(with_stand_in: Pybuild, tiny_repository: Path) -> None:
    flags = add_tiny(with_stand_in, tiny_repository)
    text = f"FROM scratch\nBOOTSTRAP --manager=dnf5 {flags} %s\n"
    packages = tiny_repository / "repo/Packages"
    [extras] = packages.glob("hello-extras-1*.rpm")
    (with_stand_in.context / "a.rpm").write_bytes(extras.read_bytes())
    image = with_stand_in.build(text % "hello-libs ./a.rpm")
    assert installed(image) == {"hello-libs", "hello-extras"}
    [memo] = (with_stand_in.store / "packages").glob("*.signed")  # of the repository's
    [libs] = packages.glob("hello-libs-1*.rpm")
    assert memo.name.startswith(hashlib.sha256(libs.read_bytes()).hexdigest())
    with_stand_in.output.unlink()
    fails(with_stand_in, text % "\\\n  no-such", 1, "Containerfile:3:3:", "no package no-such")
