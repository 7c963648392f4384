"""`pybuild`: from the command line to the exit status. Only the command line and `progress` print.

A build that is recorded, and whose inputs are unchanged, is answered without loading the parser:
what a build needs beyond that is imported by `build`.
"""

from __future__ import annotations

import gc
import os
import sys

from buildkit.command_line import (
    ARCHIVE_COMMANDS,
    BAKE_COMMAND,
    DOCTOR_COMMAND,
    IMAGE_COMMANDS,
    REGISTRY_COMMANDS,
    SBOM_COMMAND,
    STORE_COMMANDS,
    CommandLine,
    build_arguments,
    check_choices,
    further_words,
    parse_command_line,
    progress_kind,
    read_containerfile,
    source_date_epoch,
    store_limit,
)
from buildkit.command_words import HELP
from buildkit.errors import BuildError, Cancelled, DiskError, UsageError
from buildkit.outputs import STDOUT, is_stream, outputs_words, read_outputs
from buildkit.printing import complain, complain_of
from runtime import VERSION
from runtime.errors import PyrunError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from buildkit.contents import StatCache
    from buildkit.junit import Results
    from buildkit.outputs import Output
    from buildkit.recorded import Recorded
    from buildkit.sbom.options import SbomFile
    from runtime.store.store import Store

_INTERNAL = 125
_SIGPIPE = 128 + 13


def run_and_exit() -> NoReturn:
    """Run `pybuild` and end the process at once: all that it made is in place by then."""
    status = main()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # the caller may have closed it
                stream.flush()
    except BrokenPipeError:
        status = status or _SIGPIPE
    os._exit(status)


def main() -> int:
    """Run `pybuild` with the process's arguments; returns the exit status."""
    as_json = False
    # What a build makes of many files lives as long as it: looking at it again finds nothing.
    gc.set_threshold(50_000)
    try:
        if sys.argv[1:2] and sys.argv[1] in STORE_COMMANDS:
            from buildkit.store_commands import run_store_command

            return run_store_command(sys.argv[1:])
        if sys.argv[1:2] and sys.argv[1] in ARCHIVE_COMMANDS:
            from buildkit.archive_commands import run_archive_command

            return run_archive_command(sys.argv[1:])
        if sys.argv[1:2] and sys.argv[1] in IMAGE_COMMANDS:
            from buildkit.image_commands import run_image_command

            return run_image_command(sys.argv[1:])
        if sys.argv[1:2] and sys.argv[1] in REGISTRY_COMMANDS:
            from buildkit.registry_commands import run_registry_command

            return run_registry_command(sys.argv[1:])
        if sys.argv[1:2] == [DOCTOR_COMMAND]:
            from buildkit.doctor_command import run_doctor

            return run_doctor(sys.argv[2:])
        if sys.argv[1:2] == [SBOM_COMMAND]:
            from buildkit.sbom.command import run_sbom

            return run_sbom(sys.argv[2:])
        if sys.argv[1:2] == [BAKE_COMMAND]:
            from buildkit.bake.command import run_bake

            return run_bake(sys.argv[2:])
        line = parse_command_line(sys.argv[1:])
        as_json = line.error_format == "json"
        return _main(line)
    except BuildError as error:
        complain_of(error, as_json=as_json)
        return error.status
    except PyrunError as error:
        complain(f"pybuild: {error.message}", error.hint)
        return DiskError.status if isinstance(error, StoreError) else BuildError.status
    except Cancelled as cancelled:
        complain("pybuild: stopped")
        return 128 + cancelled.signal_number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who read our standard output has seen enough
        sys.stdout = None
        return _SIGPIPE
    except Exception as error:
        if os.environ.get("PYBUILD_DEBUG"):
            raise
        complain(
            f"pybuild: internal error: {error!r}",
            "this is a fault of pybuild; PYBUILD_DEBUG=1 shows where",
        )
        return _INTERNAL


def _main(line: CommandLine) -> int:
    if line.help:
        sys.stdout.write(HELP)
        return 0
    if line.version:
        sys.stdout.write(f"pybuild {VERSION}\n")
        return 0
    if not os.path.isdir(line.context):
        raise UsageError(f"context {line.context}: not a directory")
    if line.call == "expand":
        from buildkit.views import show_word

        return show_word(line)
    name, text = read_containerfile(line)
    if line.call != "build":
        from buildkit.views import show

        return show(line, text, name)
    if not line.report:
        return _build(line, name, text)
    from buildkit.junit import reported

    return reported(line.report, name, lambda results: _build(line, name, text, results))


def _build(line: CommandLine, name: str, text: bytes, results: Results | None = None) -> int:
    from buildkit import recorded
    from buildkit.contents import StatCache
    from runtime.store.store import Store, default_root

    store_limit()  # refused before anything is built
    outputs = read_outputs(
        line.outputs,
        named=bool(line.tags) or line.stored or line.shell or line.verify or line.lock,
    )
    sboms = _sbom_files(line, outputs)
    files = tuple(o.dest for o in outputs if o.is_file) + tuple(sbom.dest for sbom in sboms)
    root, context = line.root or default_root(), os.path.realpath(line.context)
    key = recorded.build_key(
        text,
        context=context,
        outputs=outputs_words(outputs),
        tags=line.tags,
        target=line.target,
        build_args=build_arguments(line.build_args),
        epoch=source_date_epoch(line),
        further_words=further_words(line, name),
    )
    check_choices(line)
    store = Store(root)
    known = StatCache(store, context)
    found = None
    looks = line.no_cache or line.no_cache_filter or line.explain or line.shell or line.verify
    looks = looks or line.lock or line.cache_to or line.pull in ("always", "newer", "true")
    looks = looks or any(is_stream(sbom.dest) for sbom in sboms)
    if not looks and all(output.is_file for output in outputs):
        found = recorded.look_up(store, key, files=files, known=known)
    if found is not None:
        if results is not None:
            results.repeat(found.titles)
        if not line.quiet:
            _repeat(found.titles, files, progress_kind(line))
        known.save()
    else:
        from buildkit.processes import stop_on_signals, sweep_at_last

        stop_on_signals()
        try:
            found = _build_anew(line, store, known, name, text, outputs, sboms, results)
            if found is None:
                return 0
            recorded.write(store, key, found)
            known.save()
        except Cancelled:
            sweep_at_last(store)
            raise
        if limit := store_limit():
            from buildkit.pruning import prune_to_limit

            prune_to_limit(store, limit)
    if line.push:
        from buildkit.progress import settle_kind
        from buildkit.registry_images import push_names

        kind = settle_kind(progress_kind(line), quiet=line.quiet, by_hand=bool(line.on_fail))
        push_names(store, line.tags, kind, before=found.shown)
    _report(line, found)
    if all(output.dest != STDOUT for output in outputs):
        sys.stdout.write(f"{found.digest}\n")
    return 0


def _build_anew(
    line: CommandLine,
    store: Store,
    known: StatCache,
    name: str,
    text: bytes,
    outputs: tuple[Output, ...],
    sboms: tuple[SbomFile, ...],
    results: Results | None,
) -> Recorded | None:
    """Do what the command line asks for; None if no image comes of it."""
    from buildkit.build import build, verify_reproducible
    from buildkit.request import read_request

    request = read_request(
        line,
        store,
        name=name,
        text=text,
        context=os.path.realpath(line.context),
        outputs=outputs,
        sboms=sboms,
        epoch=source_date_epoch(line),
        watcher=results,
    )
    if line.lock:
        from buildkit.locking import make_lock

        make_lock(request, store, known, line.vendor)
        return None
    if line.verify:
        sys.stdout.write(f"{verify_reproducible(request, store, known)}\n")
        return None
    return build(request, store, known)


def _sbom_files(line: CommandLine, outputs: tuple[Output, ...]) -> tuple[SbomFile, ...]:
    if not line.sboms:
        return ()
    from buildkit.platforms import read_platforms
    from buildkit.sbom.options import read_sbom_files
    from runtime.oci.platform import this_platform

    return read_sbom_files(line.sboms, outputs, read_platforms(line.platforms, this_platform()))


def _report(line: CommandLine, found: Recorded) -> None:
    """Tell scripts what came out, in files."""
    if line.iidfile:
        _write_word("--iidfile", line.iidfile, found.config_digest or found.digest)
    if line.digest_file:
        _write_word("--digest-file", line.digest_file, found.digest)
    if line.metadata_file:
        from buildkit.metadata import metadata_of, write_metadata

        write_metadata(line.metadata_file, metadata_of(found, line.tags))
    if os.environ.get("GITHUB_ACTIONS"):
        from buildkit import github

        if github.is_here():
            github.tell(found, line.tags)


def _repeat(titles: tuple[str, ...], files: tuple[str, ...], kind: str) -> None:
    """Say of each step that it has been done, as the build would."""
    if kind == "quiet":
        return
    if kind == "rawjson":
        from buildkit.progress import Progress

        progress = Progress(kind)
        for title in titles:
            with progress.step(title) as step:
                step.cached()
        return
    for number, title in enumerate(titles, 1):
        complain(f"#{number} {title}\n#{number} CACHED")
    for path in files:
        complain(f"{path}: up to date")


def _write_word(option: str, path: str, word: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(word)
    except OSError as error:
        raise DiskError(f"{option} {path}: {error.strerror}") from error
