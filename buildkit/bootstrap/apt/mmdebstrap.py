"""mmdebstrap's command line: exactly the packages of a small repository, into an empty root."""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.bootstrap.apt.config import quoted
from buildkit.steps import BootstrapStep

# What no package knows, gone as soon as it is made: names that are this machine's.
_SETUP = 'rm -f "$1/etc/resolv.conf" "$1/etc/hostname"'
# For a namespace in which devpts cannot give its files to the group tty: devices alone.
_BIND = (
    'for d in null zero full random urandom tty; do : >"$1/dev/$d" && '
    'mount --bind "/dev/$d" "$1/dev/$d" || exit 1; done'
)
# Where there can be neither mounts nor device nodes: files, as `furniture` makes them.
_MAKE = (
    '[ -e "$1/dev/null" ] || for d in null zero full random urandom tty; do '
    ': >"$1/dev/$d" && chmod 0666 "$1/dev/$d"; done'
)
_DOCUMENTS = (
    # The directories, and links from one package's to another's, lead to the copyright files.
    "path-exclude=/usr/share/doc/*/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/groff/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/linda/*",
)
_AT_ONCE = 200  # names in one argument, whose length is limited


def install_arguments(
    step: BootstrapStep, *, root: str, mirror: str, names: Iterable[str], devices: str
) -> tuple[str, ...]:
    """Install what is essential in a repository, and these of its packages.

    `devices` says where those of the new root come from: `mounts` of mmdebstrap's own, `binds` or
    `files`.
    """
    argv = ["mmdebstrap", "--mode=root", "--variant=essential", "--format=directory"]
    argv += [f"--architectures={step.arch}", "--skip=check/qemu", f"--setup-hook={_SETUP}"]
    if devices == "binds":
        argv += ["--skip=chroot/mount/dev", f"--extract-hook={_BIND}"]
    elif devices == "files":
        argv += ["--skip=chroot/mount", f"--extract-hook={_MAKE}"]
    # What is made here is not on the disk before the layer is.
    options = ["force-unsafe-io", *_left_out(step)]
    argv += [f"--dpkgopt={option}" for option in options]
    # No owner that another machine does not know by the same number.
    settings = [("APT::Sandbox::User", "root")]
    settings += [(name, value) for name, _, value in (o.partition("=") for o in step.setopts)]
    argv += [f"--aptopt={quoted(name, value)}" for name, value in settings]
    listed = list(names)
    for start in range(0, len(listed), _AT_ONCE):
        argv.append(f"--include={','.join(listed[start : start + _AT_ONCE])}")
    return (*argv, "", root, f"deb [trusted=yes] copy:{mirror} ./")


def _left_out(step: BootstrapStep) -> list[str]:
    """dpkg's path filters (dpkg(1)); the last that matches counts."""
    found = [] if step.docs else list(_DOCUMENTS)
    if step.langs:
        found.append("path-exclude=/usr/share/locale/*/*")
        for language in filter(None, step.langs.replace(":", ",").split(",")):
            for pattern in (language, f"{language}_*", f"{language}@*", f"{language}.*"):
                found.append(f"path-include=/usr/share/locale/{pattern}/*")
            if step.docs:
                found.append(f"path-include=/usr/share/man/{language}/*")
    return found
