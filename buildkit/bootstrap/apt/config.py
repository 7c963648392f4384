"""A root of apt's own below the state: all that it reads is in it, nothing of this machine's.

(apt.conf(5), sources.list(5), apt_preferences(5).)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from buildkit.bootstrap.access import default_ca
from buildkit.bootstrap.apt.sources import passed_on
from buildkit.bootstrap.asked import Asked
from buildkit.bootstrap.repositories import Repositories
from buildkit.bootstrap.sections import Section
from buildkit.steps import BootstrapStep

LOCAL = "local"  # the folder of a repository with the package files of the context
_FOLDERS = (
    "etc/apt/apt.conf.d",
    "etc/apt/auth.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "etc/apt/trusted.gpg.d",
    "var/cache/apt/archives/partial",
    "var/lib/dpkg",
    "var/log/apt",
    "keys",
    LOCAL,
)


def configure(
    step: BootstrapStep, asked: Asked, pins: Mapping[str, str], state: str, seen: str
) -> dict[str, str]:
    """Write it below `state`, which apt has at `seen`; returns the variables that lead there.

    `pins` are the only versions (NAME_VERSION_ARCH) that some packages (NAME.ARCH) may have.
    """
    here, there = f"{state}/apt", f"{seen}/apt"
    for folder in _FOLDERS:
        os.makedirs(f"{here}/{folder}")
    with open(f"{here}/var/lib/dpkg/status", "wb"):
        pass
    _write(f"{here}/apt.conf", _settings(step, there, f"{seen}/cache"))
    _write_sources(step, asked.repositories, here, there, has_local=bool(asked.files))
    _write(f"{here}/etc/apt/preferences", "\n".join(_preferences(asked.excludes, pins)))
    return {"APT_CONFIG": f"{there}/apt.conf"}


def quoted(name: str, value: str) -> str:
    """A line of apt.conf(5), which knows no way to write a quotation mark in a value."""
    return f'{name} "{value.replace(chr(34), "%22")}";'


def _settings(step: BootstrapStep, root: str, cache: str) -> str:
    settings = {
        "Dir": root,
        # Kept between builds: metadata that is the same is not fetched again.
        "Dir::State": f"{cache}/apt/",
        "Dir::State::status": f"{root}/var/lib/dpkg/status",
        "Dir::Etc::trusted": f"{root}/etc/apt/trusted.gpg",
        "Dir::Etc::trustedparts": f"{root}/etc/apt/trusted.gpg.d",
        "APT::Architecture": step.arch,
        "APT::Architectures": step.arch,
        "APT::Install-Recommends": "true" if step.weak else "false",
        "APT::Install-Suggests": "false",
        # Whoever we are here is no other user's business.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::ForceHash": "SHA256",
        "Acquire::Retries": "2",
        # Else apt would take itself for a part of every system.
        "pkgCacheGen::ForceEssential": ",",
    }
    if ca := default_ca():
        settings["Acquire::https::CAInfo"] = os.path.abspath(ca)
    lines = [quoted(name, value) for name, value in settings.items()]
    lines += [quoted(*setopt.split("=", 1)) for setopt in step.setopts]
    return "\n".join(lines) + "\n"


def _write_sources(
    step: BootstrapStep, repositories: Repositories, here: str, there: str, *, has_local: bool
) -> None:
    folder = f"{here}/etc/apt/sources.list.d"
    for number, section in enumerate(repositories.sections):
        names = []
        for index, key in enumerate(section.keys):
            armored = key.content.lstrip().startswith(b"-----BEGIN")
            name = f"keys/{number}.{index}.{'asc' if armored else 'gpg'}"
            with open(f"{here}/{name}", "wb") as file:
                file.write(key.content)
            names.append(f"{there}/{name}")
        _write(f"{folder}/{number:04}.sources", _stanza(step, section, names))
    if has_local:
        text = f"Types: deb\nURIs: file:{there}/{LOCAL}\nSuites: ./\nTrusted: yes\n"
        _write(f"{folder}/local.sources", text)


def _stanza(step: BootstrapStep, section: Section, keys: list[str]) -> str:
    fields = {
        "Types": "deb",
        "URIs": section.option("baseurl"),
        "Suites": section.option("suites"),
        "Components": section.option("components"),
        "Architectures": step.arch,
        **passed_on(section),
    }
    if step.gpgcheck:
        fields["Signed-By"] = " ".join(keys)
    else:
        fields |= {"Trusted": "yes", "Allow-Insecure": "yes"}
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _preferences(excludes: tuple[str, ...], pins: Mapping[str, str]) -> Iterable[str]:
    for name in excludes:
        yield f"Package: {name}\nPin: release *\nPin-Priority: -1\n"
    for pinned in pins.values():
        name, version, arch = pinned.split("_")
        suffix = "" if arch == "all" else f":{arch}"
        yield f"Package: {name}{suffix}\nPin: version {version}\nPin-Priority: 1001\n"


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)  # a URL may have a password in it
        file.write(text)
