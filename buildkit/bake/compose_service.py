"""One service of a compose file as a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildkit.bake.fields import Fields, merge, read_value
from buildkit.bake.problems import Problem, check_keys

Service = dict[str, Any]

# Keys of `build` whose values are a target's, and the names they have there.
_PLAIN = {
    "additional_contexts": "contexts",
    "args": "args",
    "cache_from": "cache-from",
    "cache_to": "cache-to",
    "context": "context",
    "dockerfile": "dockerfile",
    "dockerfile_inline": "dockerfile-inline",
    "entitlements": "entitlements",
    "extra_hosts": "extra-hosts",
    "labels": "labels",
    "network": "network",
    "no_cache": "no-cache",
    "no_cache_filter": "no-cache-filter",
    "platforms": "platforms",
    "pull": "pull",
    "secrets": "secret",
    "shm_size": "shm-size",
    "ssh": "ssh",
    "tags": "tags",
    "target": "target",
    "ulimits": "ulimits",
}
_OTHER = ("isolation", "privileged", "provenance", "sbom", "x-bake")
_TABLES = ("args", "labels", "additional_contexts", "extra_hosts", "ssh")  # or lists of K=V
_X_BAKE = (
    *("tags", "cache-from", "cache-to", "secret", "ssh", "platforms", "output", "pull"),
    *("no-cache", "no-cache-filter", "contexts"),
)
_ONE_OR_MORE = ("no_cache_filter",)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def normalized(service: Service) -> Service:
    """A service in the long form of all that has a short one; raises Problem."""
    made = dict(service)
    if "environment" in made:
        made["environment"] = _table("environment", made["environment"])
    if "build" not in made:
        return made
    build = made["build"]
    if isinstance(build, str):
        build = {"context": build}
    if not isinstance(build, dict):
        raise Problem("a path or a mapping expected", path="build")
    extensions = [key for key in build if key.startswith("x-")]
    check_keys(build, (*_PLAIN, *_OTHER, *extensions), "build")
    build = {key: value for key, value in build.items() if value is not None}
    for key in _TABLES:
        if key in build:
            build[key] = _table(f"build.{key}", build[key])
    for key in _ONE_OR_MORE:
        if isinstance(build.get(key), str):
            build[key] = [build[key]]
    return made | {"build": build}


def read_target(
    service: Service, secrets: Mapping[str, Any], environment: Mapping[str, str]
) -> Fields:
    """The target of a service; raises Problem with the path to what is wrong."""
    build = service["build"]
    if build.get("privileged") not in (None, False, "false"):
        raise Problem("is not supported; entitlements are", path="build.privileged")
    if build.get("isolation") not in (None, "", "default"):
        raise Problem("is for Windows", path="build.isolation")
    fields: Fields = {}
    for key, field in _PLAIN.items():
        if key in build:
            try:
                value = _long(key, build[key], service, secrets, environment)
                fields[field] = read_value(field, value)
            except Problem as problem:
                raise problem.inside(f"build.{key}") from None
    attests = [_attest(key, build[key]) for key in ("sbom", "provenance") if build.get(key)]
    if attests:
        fields["attest"] = read_value("attest", attests)
    fields = _extended(fields, build.get("x-bake"))
    if not fields.get("tags") and service.get("image"):
        fields["tags"] = [str(service["image"])]
    return fields


def _long(
    key: str,
    value: Any,
    service: Service,
    secrets: Mapping[str, Any],
    environment: Mapping[str, str],
) -> Any:
    """A value of `build` as a bake file would have it."""
    match key:
        case "args":  # one without a value has the service's, or the caller's
            outside = {**environment, **_set(service.get("environment", {}))}
            return {name: outside.get(name) if v is None else v for name, v in value.items()}
        case "additional_contexts":
            return _contexts(value)
        case "extra_hosts":
            return {n: ",".join(a) if isinstance(a, list) else a for n, a in value.items()}
        case "ssh":
            return [{"id": name, "paths": [p] if p else []} for name, p in sorted(value.items())]
        case "secrets":
            return [_secret(item, secrets) for item in _list(value)]
        case "ulimits":
            return _ulimits(value)
        case "shm_size":
            return _size(value)
    return value


def _set(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if value is not None}


def _table(path: str, value: Any) -> dict[str, Any]:
    """A mapping, which may be written as a list of NAME=VALUE."""
    if isinstance(value, str) and path == "build.ssh":
        value = [value]
    if isinstance(value, dict):
        return dict(value)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Problem("a mapping, or a list of NAME=VALUE, expected", path=path)
    table: dict[str, Any] = {}
    for item in value:
        name, equals, text = item.partition("=")
        if not equals and path == "build.extra_hosts":
            name, equals, text = item.partition(":")
        table[name] = text if equals else None
    return table


def _contexts(table: Mapping[str, Any]) -> dict[str, Any]:
    """Named contexts; other services are other targets."""
    made = {}
    for name, value in table.items():
        kind, colon, service = str(value).partition(":")
        if colon and kind in ("service", "target"):
            value = f"target:{service.replace('.', '_')}"
        made[name] = value
    return made


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Problem("a list expected")
    return value


def _secret(item: Any, secrets: Mapping[str, Any]) -> dict[str, Any]:
    """A secret of a build, which the file defines at its end."""
    name = item.get("source", "") if isinstance(item, dict) else item
    if not isinstance(name, str) or not name:
        raise Problem("the name of a secret expected")
    body = secrets.get(name)
    if not isinstance(body, dict):
        raise Problem(f"the file defines no secret {name!r}")
    if body.get("external"):
        raise Problem(f"{name!r} is external: only file and environment are read")
    if not body.get("file") and not body.get("environment"):
        raise Problem(f"{name!r} has neither file nor environment")
    return {"id": name, "src": body.get("file"), "env": body.get("environment")}


def _ulimits(value: Any) -> list[str]:
    if not isinstance(value, dict):
        raise Problem("a mapping expected")
    limits = []
    for name, limit in value.items():
        both = limit if isinstance(limit, dict) else {"soft": limit, "hard": limit}
        check_keys(both, ("soft", "hard"), name)
        soft = both.get("soft", both.get("hard"))
        limits.append(f"{name}={soft}:{both.get('hard', soft)}")
    return limits


def _size(value: Any) -> str:
    """A size as buildx prints it (64MiB); one that has no such form in bytes."""
    from runtime.errors import UsageError
    from runtime.limits import size

    text = str(value).lower()
    if text[-1:] == "b" and text[-2:-1] in tuple("kmgt"):
        text = text[:-1]
    try:
        count = amount = size(text, "shm_size")
    except UsageError as error:
        raise Problem(error.message) from None
    for unit in _UNITS:
        if amount % 1024 or unit == _UNITS[-1] or amount == 0:
            return f"{amount}{unit}" if amount < 1024 else f"{count}B"
        amount //= 1024
    return f"{count}B"


def _attest(kind: str, value: Any) -> str:
    if value in (True, False, "true", "false"):
        return f"type={kind},disabled={'false' if value in (True, 'true') else 'true'}"
    return f"type={kind},{value}"


def _extended(fields: Fields, more: Any) -> Fields:
    """The fields with those of `x-bake`, which compose itself has no names for."""
    if more is None:
        return fields
    if not isinstance(more, dict):
        raise Problem("a mapping expected", path="build.x-bake")
    check_keys(more, _X_BAKE, "build.x-bake")
    extended: Fields = {}
    for key, value in more.items():
        if key == "contexts":
            value = _contexts(_table("build.x-bake.contexts", value or {}))
        elif isinstance(value, str) and key not in ("pull", "no-cache"):
            value = value.split()
        try:
            found = read_value(key, value)
        except Problem as problem:
            raise problem.inside(f"build.x-bake.{key}") from None
        if found is not None:
            extended[key] = found
    for key in ("tags", "platforms", "output"):  # here these are added to, too
        if key in extended:
            extended[key] = [*fields.get(key, ()), *extended[key]]
    return merge(fields, extended)
