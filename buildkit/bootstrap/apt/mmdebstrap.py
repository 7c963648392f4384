"""mmdebstrap's command line: exactly the packages of a small repository, into an empty root."""

from __future__ import annotations

from collections.abc import Iterable

from buildkit.bootstrap.apt.config import quoted
from buildkit.steps import BootstrapStep

# dpkg's configuration for this installation. mmdebstrap's own --dpkgopt would start a filter in
# Python for each essential package, which takes as long as all the rest.
DPKG_CONFIG = "/etc/dpkg/dpkg.cfg.d/pybuild"
# Before anything is installed. What no package knows is gone as soon as it is made: names that are
# this machine's.
_SETUP = """\
set -e
rm -f "$1/etc/resolv.conf" "$1/etc/hostname"
cp {seen}/dpkg.cfg "$1{config}"
"""
# After tar has unpacked the essential packages, which dpkg then gets.
_WITHOUT_DOCUMENTS = """\
[ -d "$1/usr/share/doc" ] || exit 0
find "$1/usr/share/doc" -mindepth 2 ! -type d ! -name copyright -delete
cd "$1/usr/share"
rm -rf man/* info/* groff/* lintian/* linda/*
"""
_WITHOUT_LANGUAGES = """\
[ -d "$1/usr/share/locale" ] || exit 0
cd "$1/usr/share/locale"
for l in *; do
    case "$l" in {kept}) ;; *) [ ! -d "$l" ] || rm -rf "$l" ;; esac
done
"""
# For a namespace in which devpts cannot give its files to the group tty: devices alone.
_BIND = """\
for d in null zero full random urandom tty; do
    : >"$1/dev/$d"
    mount --bind "/dev/$d" "$1/dev/$d"
done
"""
# Where there can be neither mounts nor device nodes: files, as `furniture` makes them.
_MAKE = """\
for d in null zero full random urandom tty; do
    [ -e "$1/dev/$d" ] || { : >"$1/dev/$d"; chmod 0666 "$1/dev/$d"; }
done
"""
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


def write_hooks(step: BootstrapStep, *, state: str, seen: str, devices: str) -> None:
    """Write the scripts that mmdebstrap calls below the state, which it has at `seen`.

    `devices` says where those of the new root come from: `mounts` of mmdebstrap's own, `binds` or
    `files`.
    """
    config = "".join(f"{option}\n" for option in ("force-unsafe-io", *_left_out(step)))
    extract = ["set -e\n", {"binds": _BIND, "files": _MAKE}.get(devices, "")]
    extract += [f"(\n{script})\n" for script in _removals(step)]
    texts = {
        "dpkg.cfg": config,
        "setup.sh": _SETUP.format(seen=seen, config=DPKG_CONFIG),
        "extract.sh": "".join(extract),
    }
    for name, text in texts.items():
        with open(f"{state}/{name}", "w", encoding="utf-8") as file:
            file.write(text)


def install_arguments(
    step: BootstrapStep, *, root: str, seen: str, mirror: str, names: Iterable[str], devices: str
) -> tuple[str, ...]:
    """Install what is essential in a repository, and these of its packages."""
    argv = ["mmdebstrap", "--verbose", "--mode=root", "--variant=essential", "--format=directory"]
    argv += [f"--architectures={step.arch}", "--skip=check/qemu"]
    argv += [f'--{name}-hook=sh {seen}/{name}.sh "$1"' for name in ("setup", "extract")]
    if devices == "binds":
        argv.append("--skip=chroot/mount/dev")
    elif devices == "files":
        argv.append("--skip=chroot/mount")
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
        for pattern in _languages(step):
            found.append(f"path-include=/usr/share/locale/{pattern}/*")
    return found


def _removals(step: BootstrapStep) -> list[str]:
    """The same as scripts."""
    found = [] if step.docs else [_WITHOUT_DOCUMENTS]
    if step.langs:
        found.append(_WITHOUT_LANGUAGES.format(kept="|".join(_languages(step)) or "''"))
    return found


def _languages(step: BootstrapStep) -> list[str]:
    """Patterns of the directories that stay; the plan lets nothing through that a shell reads."""
    languages = filter(None, step.langs.replace(":", ",").split(","))
    return [f"{name}{rest}" for name in languages for rest in ("", "_*", "@*", ".*")]
