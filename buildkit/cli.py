"""`pybuild`: from the command line to the exit status. Only the command line and `progress` print.

A build that is recorded, and whose inputs are unchanged, is answered without loading the parser:
what a build needs beyond that is imported by `build`.
"""

from __future__ import annotations

import os
import sys

from buildkit.command_line import (
    HELP,
    CommandLine,
    build_arguments,
    further_words,
    isolation,
    parse_command_line,
    steps_at_once,
)
from buildkit.errors import BuildError, Cancelled, DiskError, UsageError
from buildkit.printing import complain, complain_of
from runtime import VERSION
from runtime.errors import PyrunError, StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_INTERNAL = 125
_LAST_SECOND = 253402300799  # of the year 9999, the last that RFC 3339 can say


def run_and_exit() -> NoReturn:
    """Run `pybuild` and end the process at once: all that it made is in place by then."""
    status = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # the caller may have closed it
            stream.flush()
    os._exit(status)


def main() -> int:
    """Run `pybuild` with the process's arguments; returns the exit status."""
    as_json = False
    try:
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
    name, text = _read(line)
    if line.call != "build":
        from buildkit.views import show

        return show(line, text, name)
    return _build(line, name, text)


def _read(line: CommandLine) -> tuple[str, bytes]:
    """Name and content of the Containerfile."""
    if line.file == "-":
        return "<stdin>", sys.stdin.buffer.read()
    candidates = (
        [line.file]
        if line.file
        else [os.path.join(line.context, name) for name in ("Containerfile", "Dockerfile")]
    )
    for path in candidates:
        try:
            with open(path, "rb") as file:
                return os.path.normpath(path), file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
    names = " and ".join(candidates)
    raise UsageError(f"{names}: no such file", hint="-f names the Containerfile")


def _build(line: CommandLine, name: str, text: bytes) -> int:
    from buildkit import recorded
    from buildkit.contents import StatCache
    from runtime.store.store import Store, default_root

    epoch = _source_date_epoch()
    asked, jobs = isolation(line), steps_at_once(line)
    build_args = build_arguments(line.build_args)
    output = line.output or ("" if line.tags else "image.tar")
    root, context = line.root or default_root(), os.path.realpath(line.context)
    key = recorded.build_key(
        text,
        context=context,
        output=output,
        tags=line.tags,
        target=line.target,
        build_args=build_args,
        epoch=epoch,
        further_words=further_words(line),
    )
    store = Store(root)
    known = StatCache(store, context)
    found = None
    if not line.no_cache:
        found = recorded.look_up(store, key, output=output, known=known)
    if found is None:
        from buildkit.build import Request, build
        from buildkit.isolation import settle_isolation
        from buildkit.named_contexts import read_named_contexts
        from buildkit.run_options import read_run_options
        from buildkit.supplies import read_supplies

        request = Request(
            name=name,
            text=text,
            context=context,
            output=output,
            tags=line.tags,
            target=line.target,
            build_args=build_args,
            epoch=epoch,
            use_cache=not line.no_cache,
            quiet=line.quiet,
            jobs=jobs,
            run=read_run_options(line),
            contexts=read_named_contexts(line.build_contexts),
            supplies=read_supplies(line.secrets, line.ssh),
            isolation=settle_isolation(asked, store, quiet=line.quiet),
        )
        found = build(request, store, known)
        recorded.write(store, key, found)
    elif not line.quiet:
        _repeat(found.titles, output)
    known.save()
    if line.iidfile:
        _write_iid(line.iidfile, found.config_digest)
    sys.stdout.write(f"{found.digest}\n")
    return 0


def _repeat(titles: tuple[str, ...], output: str) -> None:
    """Say of each step that it has been done, as the build would."""
    for number, title in enumerate(titles, 1):
        complain(f"#{number} {title}\n#{number} CACHED")
    if output:
        complain(f"{output}: up to date")


def _write_iid(path: str, digest: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(digest)
    except OSError as error:
        raise DiskError(f"--iidfile {path}: {error.strerror}") from error


def _source_date_epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > _LAST_SECOND:
        raise UsageError(f"SOURCE_DATE_EPOCH {text!r}: seconds since 1970 expected")
    return int(text)
