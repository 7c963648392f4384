"""`pybuild`: from the command line to the exit status. Only this module and `progress` print."""

from __future__ import annotations

import os
import signal
import sys

from buildkit.command_line import HELP, CommandLine, build_arguments, parse_command_line
from buildkit.errors import BuildError, Cancelled, DiskError, LocatedError, UsageError
from buildkit.progress import Progress
from grammar import Containerfile, ContainerfileErrors, Span, parse
from runtime.errors import PyrunError, StoreError

_LOG_LINES = 20  # of a failed step's output
_INTERNAL = 125


def main() -> int:
    """Run `pybuild` with the process's arguments; returns the exit status."""
    try:
        return _main(sys.argv[1:])
    except ContainerfileErrors as error:
        _complain(str(error))
        return UsageError.status
    except BuildError as error:
        _complain(f"pybuild: {error.message}", error.hint)
        return error.status
    except PyrunError as error:
        _complain(f"pybuild: {error.message}", error.hint)
        return DiskError.status if isinstance(error, StoreError) else BuildError.status
    except Cancelled as cancelled:
        _complain("pybuild: stopped")
        return 128 + cancelled.signal_number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        if os.environ.get("PYBUILD_DEBUG"):
            raise
        _complain(
            f"pybuild: internal error: {error!r}",
            "this is a fault of pybuild; PYBUILD_DEBUG=1 shows where",
        )
        return _INTERNAL


def _main(arguments: list[str]) -> int:
    line = parse_command_line(arguments)
    if line.help:
        sys.stdout.write(HELP)
        return 0
    if line.version:
        from importlib.metadata import version

        sys.stdout.write(f"pybuild {version('pybuild')}\n")
        return 0
    if not os.path.isdir(line.context):
        raise UsageError(f"context {line.context}: not a directory")
    containerfile = _read(line)
    if line.call != "build":
        from grammar.dump import to_json, to_sexpr

        sys.stdout.write((to_json if line.call == "ast" else to_sexpr)(containerfile) + "\n")
        return 0
    return _build(line, containerfile)


def _read(line: CommandLine) -> Containerfile:
    if line.file == "-":
        return parse(sys.stdin.buffer.read(), name="<stdin>")
    candidates = (
        [line.file]
        if line.file
        else [os.path.join(line.context, name) for name in ("Containerfile", "Dockerfile")]
    )
    for path in candidates:
        try:
            with open(path, "rb") as file:
                return parse(file.read(), name=os.path.normpath(path))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
    names = " and ".join(candidates)
    raise UsageError(f"{names}: no such file", hint="-f names the Containerfile")


def _build(line: CommandLine, containerfile: Containerfile) -> int:
    from buildkit.builder import Builder
    from buildkit.export import make_documents, name_image, write_archive
    from buildkit.images import find_image
    from buildkit.plan import Planner
    from buildkit.processes import stop_on_signals
    from buildkit.state import Settings
    from runtime.image.archive import architecture
    from runtime.sandbox.userns import become_root
    from runtime.store.store import Store, default_root
    from runtime.store.workspace import Workspace

    epoch = _source_date_epoch()
    planner = Planner(
        containerfile,
        build_args=build_arguments(line.build_args),
        architecture=architecture(),
        target=line.target,
    )
    stop_on_signals()
    root, context = line.root or default_root(), os.path.realpath(line.context)
    become_root()
    store = Store(root)
    images = {name: find_image(store, name, context) for name in planner.base_images()}
    plan = planner.plan({name: image.config.config for name, image in images.items()})
    progress = Progress(quiet=line.quiet)
    settings = Settings(
        context=context, architecture=architecture(), epoch=epoch, use_cache=not line.no_cache
    )
    _warn_of_ignore_files(progress, line.file, context)
    builder = Builder(store, plan, images, settings=settings, progress=progress)
    try:
        with Workspace(store) as work:
            config, layers = builder.build(work)
    except LocatedError as failure:
        _complain_about_step(failure.error, progress.last_log, containerfile, failure.span)
        return failure.error.status
    except OSError as error:
        raise DiskError(f"{error.filename or store.root}: {error.strerror}") from error
    documents = make_documents(config, layers)
    name_image(store, documents, line.tags)
    output = line.output or ("" if line.tags else "image.tar")
    if output:
        fresh = write_archive(store, documents, output, line.tags)
        progress.note(f"{output}: {'written' if fresh else 'up to date'}")
    if line.iidfile:
        with open(line.iidfile, "w", encoding="ascii") as file:
            file.write(documents.config_descriptor.digest)
    sys.stdout.write(f"{documents.descriptor.digest}\n")
    return 0


def _warn_of_ignore_files(progress: Progress, file: str, context: str) -> None:
    """Say that an ignore file is there and not obeyed: the image may hold what it excludes."""
    names = [os.path.join(context, name) for name in (".containerignore", ".dockerignore")]
    names += [f"{file}.containerignore", f"{file}.dockerignore"]
    for name in filter(os.path.exists, names):
        progress.note(f"warning: {name}: ignore files are not supported by this version")


def _source_date_epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"SOURCE_DATE_EPOCH {text!r}: seconds since 1970 expected")
    return int(text)


def _complain_about_step(
    error: BuildError, log: bytes, containerfile: Containerfile, span: Span
) -> None:
    """Print a step's last output, then its place in the Containerfile and what happened."""
    lines = log.decode("utf-8", "replace").splitlines()
    if lines:
        shown = lines[-_LOG_LINES:]
        rule = "------"
        _complain("\n".join([rule, *(f" > {text}" for text in shown), rule]))
    _complain(str(containerfile.error(error.message, span, hint=error.hint)))


def _complain(text: str, hint: str | None = None) -> None:
    if hint:
        text += f"\nhint: {hint}"
    sys.stderr.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stderr.buffer.flush()
