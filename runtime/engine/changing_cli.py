"""`pyrun inspect`, `rename`, `pause`, `unpause`, `restart`, `update` and `container prune`."""

from __future__ import annotations

import json

from runtime.engine.cli import for_each, one_or_more, open_store, say
from runtime.engine.containers import (
    Seen,
    look,
    look_at,
    look_at_all,
    remove,
    rename,
    state_directory,
)
from runtime.engine.events import note
from runtime.engine.filters import Filters
from runtime.engine.record import write_file
from runtime.engine.run_line import whole_number
from runtime.errors import ContainerError, PyrunError, UsageError
from runtime.options import OptionTable
from runtime.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runtime.oci.resources import Resources

_LIMITS = {
    "-m": "memory",
    "--memory": "memory",
    "--memory-swap": "memory_swap",
    "--cpus": "cpus",
    "-c": "cpu_shares",
    "--cpu-shares": "cpu_shares",
    "--cpuset-cpus": "cpuset_cpus",
    "--cpuset-mems": "cpuset_mems",
    "--pids-limit": "pids_limit",
}
_ALL = {"-a": "all", "--all": "all", "--help": "help"}
TABLES = {
    "inspect": OptionTable(
        "pyrun inspect",
        values={"--root": "root", "-f": "format", "--format": "format"},
        lists={},
        flags={"--help": "help"},
    ),
    "rename": OptionTable(
        "pyrun rename", values={"--root": "root"}, lists={}, flags={"--help": "help"}
    ),
    "pause": OptionTable("pyrun pause", values={"--root": "root"}, lists={}, flags=_ALL),
    "unpause": OptionTable("pyrun unpause", values={"--root": "root"}, lists={}, flags=_ALL),
    "restart": OptionTable(
        "pyrun restart",
        values={"--root": "root", "-t": "time", "--time": "time", "--timeout": "time"},
        lists={},
        flags=_ALL,
    ),
    "update": OptionTable(
        "pyrun update", values={"--root": "root", **_LIMITS}, lists={}, flags={"--help": "help"}
    ),
    "container": OptionTable(
        "pyrun container prune",
        values={"--root": "root"},
        lists={"--filter": "filters"},
        flags={"-f": "force", "--force": "force", "--help": "help"},
    ),
}
HELPS = {
    "inspect": """\
usage: pyrun inspect [-f json|TEMPLATE] [--root DIR] CONTAINER...

All that is known of containers, as docker and podman show it. In a template: {{.State.Pid}},
{{json .Config.Env}}, {{index .Config.Labels "NAME"}}.
""",
    "rename": "usage: pyrun rename [--root DIR] CONTAINER NAME\n",
    "pause": """\
usage: pyrun pause [--all] [--root DIR] CONTAINER...

Freeze all processes of containers; `pyrun unpause` lets them go on.
""",
    "unpause": "usage: pyrun unpause [--all] [--root DIR] CONTAINER...\n",
    "restart": """\
usage: pyrun restart [-t SECONDS] [--all] [--root DIR] CONTAINER...

Stop containers as `pyrun stop` does, and start them.
""",
    "update": """\
usage: pyrun update [OPTIONS] CONTAINER...

Change limits of containers: at once of those that run, and for every later start.

  -m, --memory BYTES, --memory-swap BYTES, --cpus N, --cpu-shares N, --cpuset-cpus LIST,
      --cpuset-mems LIST, --pids-limit N, --root DIR
""",
    "container": """\
usage: pyrun container prune [-f] [--filter KEY=VALUE] [--root DIR]

Remove the containers that do not run. The filters are those of `pyrun ps`. -f is accepted; nobody
is asked.
""",
}


def main(verb: str, arguments: list[str]) -> int:
    """Run one of the verbs; the first error counts. Raises PyrunError."""
    fields, operands = TABLES[verb].parse(arguments, operands_end_options=False)
    if fields.get("help"):
        say(HELPS[verb])
        return 0
    if verb == "container":
        return _prune(fields, operands)
    if verb == "rename":
        if len(operands) != 2:
            raise UsageError("pyrun rename: a container and its new name expected")
        store = open_store(fields.get("root"))
        rename(store, look_at(store, operands[0]), operands[1])
        return 0
    if not fields.get("all"):
        one_or_more(operands, verb)
    if verb == "inspect":
        return _inspect(open_store(fields.get("root")), operands, fields.get("format", "json"))
    do = _action(verb, fields)
    store = open_store(fields.get("root"))
    if fields.get("all"):
        operands = [
            seen.record.id
            for seen in look_at_all(store)
            if seen.is_alive and (verb != "unpause" or seen.status == "paused")
        ]
    return _each(store, operands, do)


def _each(store: Store, words: list[str], do: Callable[[Store, Seen], None]) -> int:
    def change(word: str) -> None:
        do(store, look_at(store, word))
        say(f"{word}\n")

    for_each(words, change)
    return 0


def _action(verb: str, fields: dict[str, Any]) -> Callable[[Store, Seen], None]:
    match verb:
        case "pause":
            return _pause
        case "unpause":
            return _unpause
        case "restart":
            seconds = whole_number(fields["time"], "--time") if "time" in fields else None
            return lambda store, seen: _restart(store, seen, seconds)
        case _:
            wanted = _asked({name: fields[name] for name in set(_LIMITS.values()) & fields.keys()})
            return lambda store, seen: _update(store, seen, wanted)


def _inspect(store: Store, words: list[str], form: str) -> int:
    from runtime.engine.inspecting import inspection
    from runtime.templates import filled_in

    documents, problems = [], []
    for word in words:
        try:
            documents.append(inspection(look_at(store, word)))
        except PyrunError as error:
            problems.append(error)
    if form == "json":
        say(f"{json.dumps(documents, indent=4)}\n")
    else:
        for document in documents:
            say(f"{filled_in(form, document)}\n")
    if problems:
        raise problems[0]
    return 0


def _pause(store: Store, seen: Seen) -> None:
    from runtime.lifecycle.operations import pause_container

    _alive(seen, "running")
    pause_container(state_directory(seen.record.id))
    note(store, "pause", seen.record)


def _unpause(store: Store, seen: Seen) -> None:
    from runtime.lifecycle.operations import resume_container

    _alive(seen, "paused")
    resume_container(state_directory(seen.record.id))
    note(store, "unpause", seen.record)


def _alive(seen: Seen, *statuses: str) -> None:
    if seen.status not in statuses:
        raise ContainerError(
            f"container {seen.record.name} is {seen.status}, not {' or '.join(statuses)}"
        )


def _restart(store: Store, seen: Seen, seconds: int | None) -> None:
    from runtime.engine.ending_cli import stop
    from runtime.engine.launching import start_container

    if seen.is_alive:
        if seen.record.auto_remove:
            raise ContainerError(
                f"container {seen.record.name} is removed when it ends (--rm)",
                hint="make another one",
            )
        stop(seen, seconds)
    start_container(store, seen.path, look(store, seen.path).record)
    note(store, "restart", seen.record)


def _asked(fields: dict[str, str]) -> Resources:
    from runtime.bundle import Options
    from runtime.limits import asked_resources

    if not fields:
        raise UsageError("pyrun update: no limit given", hint="pyrun update --help")
    if "memory_swap" in fields and "memory" not in fields:
        raise UsageError("--memory-swap: counts memory too, so --memory must be given as well")
    return asked_resources(Options().replace(**fields))


def _update(store: Store, seen: Seen, wanted: Resources) -> None:
    from runtime.engine.launching import spec_of, write_spec
    from runtime.lifecycle.operations import update_container

    spec = spec_of(seen.path)
    if seen.is_alive:
        update_container(state_directory(seen.record.id), wanted)
    old = spec.resources
    write_spec(seen.path, spec.replace(resources=wanted if old is None else _over(old, wanted)))
    if wanted.pids_limit is not None:
        write_file(seen.path, "record.json", seen.record.replace(asked_pids=True).to_json())
    note(store, "update", seen.record)


def _over(old: Any, new: Any) -> Any:
    """Resources with what is said anew; what is not said stays."""
    if old is None or not hasattr(new, "_fields"):
        return old if new is None or new == () else new
    return type(new)(
        **{name: _over(getattr(old, name), getattr(new, name)) for name in new._fields}
    )


def _prune(fields: dict[str, Any], operands: list[str]) -> int:
    if operands != ["prune"]:
        raise UsageError("pyrun container: prune expected", hint="pyrun container --help")
    filters = Filters(fields.get("filters", ()))
    store = open_store(fields.get("root"))
    for seen in look_at_all(store):
        if not seen.is_alive and filters.let(seen):
            remove(store, seen.path, seen.record)
            say(f"{seen.record.id}\n")
    return 0
