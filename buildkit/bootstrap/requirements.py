"""What packages ask of the rpm that installs them: known before anything is unpacked.

A feature that rpm lacks it would name itself, but not users: from 4.19 on it makes those that
packages provide as `user(NAME)`, before, it does nothing and gives their files to root.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from buildkit.bootstrap.package_files import PlacedPackage
from buildkit.bootstrap.surroundings import Surroundings
from buildkit.errors import BuildError, HostError
from buildkit.packages import rpm_header as tags
from buildkit.packages.errors import PackageError
from buildkit.packages.rpm_file import read_header
from buildkit.packages.rpm_header import Header

_MAKES_USERS = (4, 19)
_FEATURE = re.compile(r"^\s*(rpmlib\([\w.-]+\)) = (\S+)", re.MULTILINE)
_VERSION = re.compile(r"RPM version (\d+)\.(\d+)")
_USER = re.compile(r"(?:user|group)\([^()]+\)")


def check_requirements(
    placed: Sequence[PlacedPackage], *, surroundings: Surroundings, variables: Mapping[str, str]
) -> None:
    """Raise HostError if rpm is too old for a package, BuildError for what is no package."""
    features: dict[str, str] = {}
    users: dict[str, str] = {}
    made: set[str] = set()
    for one in placed:
        label = one.package.label
        try:
            with open(one.path, "rb") as file:
                header = read_header(file)
            for name in header.strings(tags.REQUIRENAME):
                if name.startswith("rpmlib("):
                    features.setdefault(name, label)
            users.update(
                (name, label) for name in header.strings(tags.PROVIDENAME) if _USER.fullmatch(name)
            )
            made |= _made_by_scriptlet(header)
        except (PackageError, OSError) as error:
            raise BuildError(f"package {label} is damaged: {error}") from error
    if not features and not users:
        return
    said = bytearray()
    surroundings.run(("rpm", "--showrc"), variables, said.extend)
    text = said.decode("utf-8", "replace")
    known = {match[1] for match in _FEATURE.finditer(text)}
    missing = sorted(features.keys() - known) if known else []
    if missing:
        raise HostError(
            f"package {features[missing[0]]} needs an rpm with {', '.join(missing)}",
            hint="--tools=IMAGE takes the rpm of an image",
        )
    if not users:
        return
    said.clear()
    surroundings.run(("rpm", "--version"), variables, said.extend)
    version = _VERSION.search(said.decode("utf-8", "replace"))
    if version is None or (int(version[1]), int(version[2])) >= _MAKES_USERS:
        return
    lacking = sorted(name for name, label in users.items() if label not in made)
    if lacking:
        raise HostError(
            f"package {users[lacking[0]]} counts on rpm to make {', '.join(lacking)}, which rpm "
            f"does from 4.19 on; here is {version[1]}.{version[2]}",
            hint="--tools=IMAGE takes the rpm of an image",
        )


def _made_by_scriptlet(header: Header) -> set[str]:
    """The package, if it has the account files, or a scriptlet that makes users ahead of it."""
    script = header.string(tags.PREIN) if tags.PREIN in header else ""
    accounts = "/etc/" in header.strings(tags.DIRNAMES) and "passwd" in header.strings(
        tags.BASENAMES
    )
    if accounts or any(word in script for word in ("useradd", "groupadd", "sysusers")):
        name, version = header.string(tags.NAME), header.string(tags.VERSION)
        return {f"{name}-{version}-{header.string(tags.RELEASE)}.{header.string(tags.ARCH)}"}
    return set()
