"""What a group uses, in the JSON form of `runc events --stats` (types/events.go there).

Bytes, nanoseconds and counts. A controller that the group is not in gives no figures.
"""

from __future__ import annotations

from errno import ENOENT, EOPNOTSUPP

from runtime.cgroup.files import FileError, read_file, read_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.cgroup.group import Group
    from runtime.cgroup.places import Place

_NO_LIMIT = (1 << 64) - 1


def stats(group: Group) -> dict[str, Any]:
    """All figures of a group."""
    return {
        "cpu": _cpu(group),
        "cpuset": _cpuset(group.place_of("cpuset")),
        "memory": _memory(group),
        "pids": _pids(group.place_of("pids")),
        "blkio": _blkio(group),
        "hugetlb": _hugetlb(group.place_of("hugetlb")),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _number(place: Place, file: str) -> int:
    """A file of one number; 0 where the kernel has none, `max` is the greatest."""
    try:
        text = read_file(f"{place.directory}/{file}")
    except FileError as error:
        if error.errno in (ENOENT, EOPNOTSUPP):
            return 0
        raise
    return _NO_LIMIT if text == "max" else int(text)


def _table(place: Place, file: str) -> dict[str, int]:
    try:
        return read_table(f"{place.directory}/{file}")
    except FileError as error:
        if error.errno == ENOENT:
            return {}
        raise


def _cpu(group: Group) -> dict[str, Any]:
    found: dict[str, Any] = {"usage": {"total": 0, "kernel": 0, "user": 0}, "throttling": {}}
    unified, account = group.unified, group.place_of("cpuacct")
    if account is not None and account.version == 1:
        per_cpu = read_file(account.directory + "/cpuacct.usage_percpu").split()
        found["usage"] = {
            "total": _number(account, "cpuacct.usage"),
            "percpu": [int(number) for number in per_cpu],
            "kernel": _number(account, "cpuacct.usage_sys"),
            "user": _number(account, "cpuacct.usage_user"),
        }
    elif unified is not None:
        table = _table(unified, "cpu.stat")  # in every group of v2, with the controller or without
        found["usage"] = {
            "total": table.get("usage_usec", 0) * 1000,
            "kernel": table.get("system_usec", 0) * 1000,
            "user": table.get("user_usec", 0) * 1000,
        }
    place = group.place_of("cpu")
    if place is not None:
        table = _table(place, "cpu.stat")
        nanoseconds = table.get("throttled_time", table.get("throttled_usec", 0) * 1000)
        found["throttling"] = {
            "periods": table.get("nr_periods", 0),
            "throttledPeriods": table.get("nr_throttled", 0),
            "throttledTime": nanoseconds,
        }
    return found | _pressure(unified, "cpu")


def _pressure(unified: Place | None, resource: str) -> dict[str, Any]:
    """Pressure stall information (PSI), which every group of v2 has if the kernel counts it."""
    if unified is None:
        return {}
    try:
        text = read_file(f"{unified.directory}/{resource}.pressure")
    except FileError as error:
        if error.errno in (ENOENT, EOPNOTSUPP):  # not compiled in; or booted with psi=0
            return {}
        raise
    found = {}
    for line in text.splitlines():
        kind, *words = line.split()
        values = dict(word.split("=") for word in words)
        averages = {name: float(values[name]) for name in ("avg10", "avg60", "avg300")}
        found[kind] = averages | {"total": int(values["total"])}
    return {"psi": found}


def _cpuset(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {}
    names = {"cpus": "cpuset.cpus", "mems": "cpuset.mems"}
    return {name: _list(read_file(f"{place.directory}/{file}")) for name, file in names.items()}


def _list(text: str) -> list[int]:
    """The numbers of a list such as 0-2,4 (cpuset(7) "List format")."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def _memory(group: Group) -> dict[str, Any]:
    place = group.place_of("memory")
    if place is None:
        found: dict[str, Any] = {}
    elif place.version == 1:
        raw = _table(place, "memory.stat")
        found = {"cache": raw.get("cache", 0), "raw": raw}
        for name, prefix in (
            ("usage", "memory"),
            ("swap", "memory.memsw"),
            ("kernel", "memory.kmem"),
            ("kernelTCP", "memory.kmem.tcp"),
        ):
            found[name] = {
                "limit": _number(place, f"{prefix}.limit_in_bytes"),
                "usage": _number(place, f"{prefix}.usage_in_bytes"),
                "max": _number(place, f"{prefix}.max_usage_in_bytes"),
                "failcnt": _number(place, f"{prefix}.failcnt"),
            }
    else:
        found = _memory_v2(place)
    return found | _pressure(group.unified, "memory")


def _memory_v2(place: Place) -> dict[str, Any]:
    raw = _table(place, "memory.stat")
    usage, limit = _number(place, "memory.current"), _number(place, "memory.max")
    swap, swap_limit = _number(place, "memory.swap.current"), _number(place, "memory.swap.max")
    return {
        "cache": raw.get("file", 0),
        "raw": raw,
        "usage": {
            "limit": limit,
            "usage": usage,
            "max": _number(place, "memory.peak"),
            "failcnt": _table(place, "memory.events").get("max", 0),
        },
        # As everywhere in this form, swap is memory and swap together.
        "swap": {
            "limit": min(limit + swap_limit, _NO_LIMIT),
            "usage": usage + swap,
            "failcnt": _table(place, "memory.swap.events").get("max", 0),
        },
    }


def _pids(place: Place | None) -> dict[str, int]:
    if place is None:
        return {}
    limit = _number(place, "pids.max")
    return {"current": _number(place, "pids.current"), "limit": 0 if limit == _NO_LIMIT else limit}


def _blkio(group: Group) -> dict[str, Any]:
    place = group.place_of("blkio")
    found: dict[str, list[dict[str, Any]]] = {}
    if place is not None and place.version == 1:
        for name, file in (
            ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
            ("ioServicedRecursive", "io_serviced_recursive"),
        ):
            text = read_file(f"{place.directory}/blkio.throttle.{file}")
            lines = [line.split() for line in text.splitlines()]
            found[name] = [_entry(*words) for words in lines if len(words) == 3]
    elif place is not None:
        for line in read_file(place.directory + "/io.stat").splitlines():
            device, *words = line.split()
            values = dict(word.split("=", 1) for word in words)
            for name, kind in (
                ("ioServiceBytesRecursive", "bytes"),
                ("ioServicedRecursive", "ios"),
            ):
                for letter, operation in (("r", "Read"), ("w", "Write"), ("d", "Discard")):
                    value = values.get(letter + kind, "0")
                    found.setdefault(name, []).append(_entry(device, operation, value))
    return found | _pressure(group.unified, "io")


def _entry(device: str, operation: str, value: str) -> dict[str, Any]:
    major, _, minor = device.partition(":")
    return {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}


def _hugetlb(place: Place | None) -> dict[str, dict[str, int]]:
    if place is None:
        return {}
    import os

    found = {}
    for file in sorted(os.listdir(place.directory)):
        _, size, *rest = file.split(".", 2)
        if file.startswith("hugetlb.") and rest == ["usage_in_bytes"]:
            prefix = f"hugetlb.{size}"
            found[size] = {
                "usage": _number(place, file),
                "max": _number(place, prefix + ".max_usage_in_bytes"),
                "failcnt": _number(place, prefix + ".failcnt"),
            }
        elif file.startswith("hugetlb.") and rest == ["current"]:
            failed = _table(place, f"hugetlb.{size}.events").get("max", 0)
            found[size] = {"usage": _number(place, file), "failcnt": failed}
    return found
