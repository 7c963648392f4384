"""Which registries a name leads to, as containers-registries.conf(5) has it (version 2).

The user's file counts instead of the machine's, and drop-ins add to it:

    $CONTAINERS_REGISTRIES_CONF alone, or
    ~/.config/containers/registries.conf, or /etc/containers/registries.conf
    /etc/containers/registries.conf.d/*.conf and ~/.config/containers/registries.conf.d/*.conf

Where a registry is `insecure` any certificate is good enough, and after https http is tried.
"""

from __future__ import annotations

import glob
import os

from runtime.errors import RegistryError
from runtime.record import Record
from runtime.registry.reference import (
    DOCKER_HUB,
    Reference,
    is_short,
    parse_reference,
    unverified,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_PULLS = ("all", "digest-only", "tag-only")


class Endpoint(Record):
    """Where images of a registry, or of a part of it, are."""

    location: str  # host and path; empty: as the prefix says
    insecure: bool = False  # any certificate will do, and plain http if there is no https
    pulls: str = "all"  # of a mirror: which references it is asked for


class Rule(Record):
    """A `[[registry]]`."""

    prefix: str
    place: Endpoint
    blocked: bool = False
    mirrors: tuple[Endpoint, ...] = ()

    def fits(self, name: str) -> bool:
        """Whether a host and repository are below the prefix."""
        if self.prefix.startswith("*."):
            return name.partition("/")[0].endswith(self.prefix[1:])
        return name == self.prefix or name.startswith((f"{self.prefix}/", f"{self.prefix}:"))


class RegistriesConf(Record):
    """All of it together."""

    search: tuple[str, ...] = (DOCKER_HUB,)  # for names without a host
    aliases: tuple[tuple[str, str], ...] = ()
    rules: tuple[Rule, ...] = ()

    def meanings(self, text: str) -> tuple[Reference, ...]:
        """What a name may mean, in order: an alias, or a name in each registry that is searched.

        Raises UsageError.
        """
        reference = parse_reference(text)
        if not is_short(text):
            return (reference,)
        tail = text.removeprefix("docker://")
        bare = tail.partition("@")[0].partition(":")[0]
        for name, full in self.aliases:
            if name == bare:
                return (parse_reference(full + tail[len(bare) :]),)
        return tuple(parse_reference(f"{host}/{tail}") for host in self.search)

    def endpoints(self, reference: Reference, *, pulling: bool) -> tuple[Reference, ...]:
        """The names under which an image is asked for, in order: at mirrors, then at its place.

        Raises RegistryError for a registry that is blocked.
        """
        fitting = [rule for rule in self.rules if rule.fits(reference.name)]
        if not fitting:
            return (reference,)
        rule = max(fitting, key=lambda rule: len(rule.prefix))
        if rule.blocked:
            raise RegistryError(f"{reference}: {rule.prefix} is blocked by registries.conf")
        places = [rule.place]
        if pulling:
            kind = "tag-only" if reference.digest is None else "digest-only"
            places = [m for m in rule.mirrors if m.pulls in ("all", kind)] + places
        found: list[Reference] = []
        for place in places:
            moved = _moved(reference, rule.prefix, place.location)
            found += unverified((moved,)) if place.insecure else (moved,)
        return tuple(found)


def _moved(reference: Reference, prefix: str, location: str) -> Reference:
    if not location or prefix.startswith("*."):
        return reference
    rest = reference.name[len(prefix) :]
    host, _, repository = f"{location}{rest}".partition("/")
    return reference.replace(host=host, repository=repository)


def read_registries_conf(environ: Mapping[str, str] = os.environ) -> RegistriesConf:
    """Read what there is; raises RegistryError for a file that is none."""
    home = environ.get("HOME") or os.path.expanduser("~")
    own = f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers"
    named = environ.get("CONTAINERS_REGISTRIES_CONF", "")
    mains = [named] if named else [f"{own}/registries.conf", "/etc/containers/registries.conf"]
    main = next((path for path in mains if os.path.exists(path)), named)
    paths = [main] if main else []
    if not named:
        for folder in ("/etc/containers", own):
            paths += sorted(glob.glob(f"{glob.escape(folder)}/registries.conf.d/*.conf"))
    found = RegistriesConf()
    for path in paths:
        found = _added(found, _table(path), path)
    return found


def _table(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: {error}") from error
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from error


def _added(before: RegistriesConf, table: dict[str, Any], path: str) -> RegistriesConf:
    search = table.get("unqualified-search-registries")
    aliases, registries = table.get("aliases", {}), table.get("registry", [])
    try:
        rules = {rule.prefix: rule for rule in before.rules}
        for entry in registries:
            rule = _rule(entry)
            rules[rule.prefix] = rule
        named = dict(before.aliases)
        named.update({str(k): str(v) for k, v in aliases.items()})
        return RegistriesConf(
            search=before.search if search is None else tuple(map(str, search)),
            aliases=tuple(named.items()),
            rules=tuple(rules.values()),
        )
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        message = f"{path}: not what containers-registries.conf(5) describes: {error}"
        raise RegistryError(message) from error


def _rule(entry: dict[str, Any]) -> Rule:
    place = _endpoint(entry)
    prefix = entry.get("prefix") or place.location
    if not prefix:
        raise ValueError("a registry without prefix and location")
    return Rule(
        prefix=str(prefix).rstrip("/"),
        place=place,
        blocked=bool(entry.get("blocked", False)),
        mirrors=tuple(
            _endpoint(mirror, digests=bool(entry.get("mirror-by-digest-only", False)))
            for mirror in entry.get("mirror", [])
        ),
    )


def _endpoint(entry: dict[str, Any], *, digests: bool = False) -> Endpoint:
    pulls = entry.get("pull-from-mirror") or ("digest-only" if digests else "all")
    if pulls not in _PULLS:
        raise ValueError(f"pull-from-mirror = {pulls!r}: {', '.join(_PULLS)}")
    return Endpoint(
        location=str(entry.get("location", "")).rstrip("/"),
        insecure=bool(entry.get("insecure", False)),
        pulls=pulls,
    )
