"""`pybuild bake`: from its command line to the exit status."""

from __future__ import annotations

import json
import sys

from buildkit.bake.definition import Definition, Resolved, resolve
from buildkit.bake.fields import Fields
from buildkit.bake.files import read_files
from buildkit.bake.options import INSECURE, Common, Options, options_of
from buildkit.bake.overriding import read_overrides
from buildkit.command_line import (
    check_choices,
    check_formats,
    progress_kind,
    read_containerfile,
    store_limit,
)
from buildkit.errors import BuildError, UsageError
from buildkit.junit import Results, reported
from buildkit.printing import complain_of
from runtime.errors import UsageError as OptionError
from runtime.options import OptionTable
from runtime.record import Record

HELP = """\
usage: pybuild bake [OPTIONS] [TARGET|GROUP...]

Build many images at once: the targets of docker-bake files, in HCL or JSON, and of compose files
the services that have a `build:` section. Without operands it is the group or target `default`;
of a compose file that is all of them. Steps that targets have in common are done once.

  -f, --file FILE     a file, *.hcl, *.json or *.yaml; - is standard input (may be repeated: later
                      ones override earlier ones). Default: those that are there of
                      compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml,
                      docker-bake.json, docker-bake.hcl, docker-bake.override.json and .hcl
      --set TARGET.KEY=VALUE, TARGET.KEY+=VALUE
                      change a field of targets (TARGET may have wildcards), or add to a list:
                      args.NAME, tags, output, platform, ... (may be repeated)
      --print         write all that is asked for, complete, as buildx's JSON; build nothing
      --list targets|variables[,format=json]
                      write what the files define; build nothing
      --check, --call check
                      look for mistakes in the Containerfiles; build nothing
      --allow security.insecure
                      let targets with this entitlement have it
      --no-cache      do every step anew
      --push          push all targets to the registries of their tags, once all are built
      --pull          ask registries for base images, whatever the store has
      --load          nothing: tags are names in the store anyway
      --metadata-file FILE
                      write digests and descriptors as JSON, an object for each target
      --report junit=FILE
                      write how each step went as JUnit's XML
      --error-format text|json
                      what an error is: text, or one line of JSON
      --isolation auto|namespaces|chroot, --jobs N, --progress KIND, -q, --quiet, --root DIR
                      as with pybuild
      --help

A target goes where its `output` says, and its `tags` are names in the store; with neither it is
only cached. Nothing is written before all targets are built.

Exit status: as that of pybuild.
"""
TABLE = OptionTable(
    "pybuild bake",
    values={
        "--call": "call",
        "--error-format": "error_format",
        "--isolation": "isolation",
        "--jobs": "jobs",
        "--list": "list",
        "--metadata-file": "metadata_file",
        "--progress": "progress",
        "--report": "report",
        "--root": "root",
    },
    lists={"-f": "files", "--file": "files", "--set": "overrides", "--allow": "allow"},
    flags={
        "--check": "check",
        "--help": "help",
        "--load": "load",
        "--no-cache": "no_cache",
        "--print": "print",
        "--pull": "pull",
        "--push": "push",
        "-q": "quiet",
        "--quiet": "quiet",
    },
)
_HINT = "pybuild bake --help"
# As buildx knows them; files and networks are not restricted here.
_ALLOWED = (INSECURE, "network.host", "ssh", "fs", "fs.read", "fs.write")


class BakeLine(Record):
    """A parsed command line."""

    asked: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    call: str = "build"
    error_format: str = "text"
    isolation: str = ""
    jobs: str = ""
    list: str = ""
    metadata_file: str = ""
    progress: str = ""
    report: str = ""
    root: str | None = None
    load: bool = False
    no_cache: bool = False
    print: bool = False
    pull: bool = False
    push: bool = False
    quiet: bool = False
    help: bool = False


def run_bake(arguments: list[str]) -> int:
    """Run the command; returns the exit status. Raises BuildError."""
    line = _parse(arguments)
    if line.help:
        sys.stdout.write(HELP)
        return 0
    try:
        return _run(line)
    except BuildError as error:
        if line.error_format == "text":
            raise
        complain_of(error, as_json=True)
        return error.status


def _run(line: BakeLine) -> int:
    definition = read_files(line.files)
    if line.list:
        sys.stdout.write(_listing(definition, line.list))
        return 0
    words = list(line.overrides)
    words += ["*.pull=true"] if line.pull else []
    words += ["*.push=true"] if line.push else []
    words += ["*.no-cache=true"] if line.no_cache else []
    resolved = resolve(definition, line.asked, read_overrides(words, definition.targets))
    if line.print:
        sys.stdout.write(_json(resolved.to_json()))
        return 0
    if not line.report:
        return _build(line, resolved, None)
    return reported(line.report, "bake", lambda results: _build(line, resolved, results))


def _parse(arguments: list[str]) -> BakeLine:
    try:
        fields, operands = TABLE.parse(arguments, operands_end_options=False)
    except OptionError as error:
        raise UsageError(error.message, hint=error.hint or _HINT) from None
    if fields.pop("check", False):
        fields["call"] = "check"
    line = BakeLine(**fields, asked=tuple(operands))
    if line.call not in ("build", "check"):
        raise UsageError(f"--call {line.call!r}: build or check")
    check_formats(line.report, line.error_format)
    return line


def _build(line: BakeLine, resolved: Resolved, results: Results | None) -> int:
    from buildkit import github
    from buildkit.bake.building import build_targets, said_of
    from buildkit.errors import Cancelled
    from buildkit.metadata import metadata_of, write_metadata
    from buildkit.processes import stop_on_signals, sweep_at_last
    from buildkit.progress import settle_kind
    from buildkit.registry_images import push_names
    from runtime.store.store import Store, default_root

    common = _common(line)
    options = {}
    for name, fields in resolved.targets.items():
        with said_of(name):
            options[name] = options_of(fields, common)
            check_choices(options[name].line)
    calls = {option.line.call for name, option in options.items() if name not in resolved.linked}
    if len(calls) > 1:
        raise UsageError("some targets are to be built and others to be checked: say which")
    if calls == {"check"}:
        return _check(options)
    limit = store_limit()
    store = Store(line.root or default_root())
    stop_on_signals()
    try:
        found = build_targets(resolved, options, store, _notes(resolved, options), results)
    except Cancelled:
        sweep_at_last(store)
        raise
    if limit:
        from buildkit.pruning import prune_to_limit

        prune_to_limit(store, limit)
    shown = max((one.shown for one in found.values()), default=0)
    built = {name: found[name] for name in sorted(found) if name not in resolved.linked}
    for name in built:
        if options[name].line.push:
            with said_of(name):
                own = options[name].line
                kind = settle_kind(progress_kind(own), quiet=line.quiet, by_hand=False)
                push_names(store, own.tags, kind, before=shown)
                shown += len(own.tags)
    tables = {name: metadata_of(one, options[name].line.tags) for name, one in built.items()}
    if line.metadata_file:
        write_metadata(line.metadata_file, tables)
    if github.is_here():
        github.tell_of_targets(tables)
    if not any(o.endswith("dest=-") for option in options.values() for o in option.line.outputs):
        sys.stdout.write("".join(f"{name} {one.digest}\n" for name, one in built.items()))
    return 0


def _common(line: BakeLine) -> Common:
    allowed = tuple(word for text in line.allow for word in text.split(","))
    for word in allowed:
        if word not in _ALLOWED and word.partition("=")[0] not in _ALLOWED:
            raise UsageError(f"--allow {word!r}: {', '.join(_ALLOWED)}")
    return Common(
        allow=allowed,
        call=line.call,
        isolation=line.isolation,
        jobs=line.jobs,
        progress=line.progress,
        quiet=line.quiet,
        root=line.root,
    )


def _check(options: dict[str, Options]) -> int:
    """Look for mistakes in each Containerfile; the status of the worst."""
    from buildkit.bake.building import said_of
    from buildkit.request import INLINE
    from buildkit.views import show

    status = 0
    for name, option in options.items():
        with said_of(name):
            line, text = option.line.replace(call="check"), option.inline
            file, content = (
                (INLINE, text.encode()) if text is not None else read_containerfile(line)
            )
            status = max(status, show(line, content, file))
    return status


def _notes(resolved: Resolved, options: dict[str, Options]) -> list[str]:
    """What is left out, and of which targets nothing will be seen."""
    notes = []
    tagged: dict[str, str] = {}
    for name, option in options.items():
        for tag in option.line.tags:
            other = tagged.setdefault(tag, name)
            if other != name:
                notes.append(f"targets {other} and {name} have one tag: {tag}")
        notes += [f"target {name}: {note}" for note in option.notes]
        asked = resolved.targets[name].get("output")
        if not (asked or option.line.tags or name in resolved.linked):
            notes.append(f"target {name} has neither output nor tags: it is only cached")
    return [f"pybuild: warning: {note}" for note in notes]


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _listing(definition: Definition, text: str) -> str:
    """What the files define, as a table or as JSON."""
    fields = dict(f.partition("=")[::2] for f in text.split(","))
    kind = fields.pop("type", "") or next((name for name in fields if not fields[name]), "")
    form = fields.get("format", "table")
    if kind not in ("targets", "variables") or form not in ("table", "json"):
        raise UsageError(f"--list {text!r}: targets or variables, and format=table or json")
    rows = _target_rows(definition) if kind == "targets" else _variable_rows(definition)
    if form == "json":
        return _json(rows)
    titles = ("name", "description") if kind == "targets" else ("name", "value", "description")
    heads = [title.upper() for title in titles]
    heads[0] = kind[:-1].upper()
    table = [heads, *([_cell(row.get(title)) for title in titles] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table)
    return "".join(f"{shown.rstrip()}\n" for shown in lines)


def _target_rows(definition: Definition) -> list[Fields]:
    rows: list[Fields] = []
    for name in sorted({*definition.groups, *definition.targets}):
        if name in definition.groups:
            group = definition.groups[name]
            description = group.description or ", ".join(group.targets)
            rows.append({"name": name, "description": description, "group": True})
        else:
            description = definition.targets[name].get("description", "")
            rows.append({"name": name, "description": description})
    return rows


def _variable_rows(definition: Definition) -> list[Fields]:
    return [
        {"name": v.name, "value": v.value, "description": v.description}
        for v in definition.variables
    ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
