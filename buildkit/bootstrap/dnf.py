"""dnf's command line and configuration: all of it ours, nothing of the host's or the target's."""

from __future__ import annotations

import os
from importlib import resources

from buildkit.bootstrap.repositories import Repositories, write_repositories
from buildkit.errors import HostError
from buildkit.inputs import find_program
from buildkit.steps import BootstrapStep


def find_manager() -> str:
    """Real path of the host's dnf; raises HostError with what to install."""
    path = find_program("dnf") or find_program("dnf5")
    if path is None:
        raise HostError(
            "BOOTSTRAP needs dnf, and this machine has none",
            hint="install it (Debian: apt-get install dnf; Fedora, RHEL: dnf install dnf)",
        )
    return path


def is_dnf5(manager: str) -> bool:
    """Whether a dnf is of the fifth generation, which takes some other arguments."""
    return os.path.basename(manager) == "dnf5"


def configure(
    step: BootstrapStep, repositories: Repositories, state: str, dbpath: str, *, seen_as: str
) -> None:
    """Fill `state` with all that dnf reads: its configuration, repositories, macros, plugin.

    dnf will have the directory at `seen_as`.
    """
    write_repositories(repositories, step, seen_as, state)
    # The only way to reach rpm's macros through dnf 4 is the home directory.
    # Packages own /proc and its like too, which are mounted while rpm runs: it must leave them.
    macros = [f"%_dbpath {dbpath}", "%_netsharedpath /dev:/proc:/sys"]
    if step.langs:
        macros.append(f"%_install_langs {step.langs.replace(',', ':')}")
    with open(f"{state}/home/.rpmmacros", "w", encoding="utf-8") as file:
        file.write("\n".join(macros) + "\n")
    with open(f"{state}/dnf.conf", "w", encoding="utf-8") as file:
        file.write(
            "[main]\ngpgcheck=1\nbest=1\nskip_if_unavailable=0\nassumeyes=1\nkeepcache=1\n"
            "plugins=1\nclean_requirements_on_remove=1\n"
        )
    plugin = resources.files("buildkit.bootstrap").joinpath("dnf_plugin.py")
    with open(f"{state}/plugins/pybuild.py", "w", encoding="utf-8") as file:
        file.write(plugin.read_text(encoding="utf-8"))


def arguments(manager: str, step: BootstrapStep, root: str, state: str) -> tuple[str, ...]:
    """dnf's command line, for an installation into `root` with the directory `state`."""
    # fmt: off
    argv = [
        manager,
        "--assumeyes",
        "--config", f"{state}/dnf.conf",
        "--installroot", root,
        "--setopt", f"reposdir={state}/repos",
        "--setopt", f"varsdir={state}/vars",
        "--setopt", f"pluginconfpath={state}/none",
        "--setopt", f"pluginpath={state}/plugins",
        "--setopt", f"cachedir={state}/cache",
        "--setopt", f"persistdir={state}/persist",
        "--setopt", f"logdir={state}/log",
        "--setopt", f"install_weak_deps={int(step.weak)}",
        "--refresh",  # a changed file: repository would go unnoticed for two days
    ]
    # fmt: on
    if is_dnf5(manager):
        # As root it would use the system's cache, whatever cachedir says.
        argv += ["--setopt", f"system_cachedir={state}/cache"]
    if not step.docs:
        argv += ["--setopt", "tsflags=nodocs"]
    if step.arch != os.uname().machine:
        argv += [f"--forcearch={step.arch}"]
    if step.releasever:
        argv += [f"--releasever={step.releasever}"]
    if not step.gpgcheck:
        argv += ["--nogpgcheck" if not is_dnf5(manager) else "--no-gpgchecks"]
    argv += [f"--exclude={exclude}" for exclude in step.excludes]
    for setopt in step.setopts:
        argv += ["--setopt", setopt]
    return (*argv, "install", *(package.text for package in step.packages))
