"""`parse`: bytes -> Containerfile, or every fault of the file at once.

The order of the passes: decode, directives, lines (lines.py), one tree for each instruction
(syntax.py), instructions (translate.py), stages (here). A broken instruction is left out and
reading goes on, so a file is corrected in one round.
"""

from __future__ import annotations

from collections.abc import Iterable

from grammar.containerfile import Containerfile, Stage
from grammar.context import Context
from grammar.directives import read_directives
from grammar.errors import ContainerfileError, ContainerfileErrors
from grammar.instructions import Arg, From, Instruction
from grammar.lines import MAX_LINE_BYTES, LogicalLine, read_lines
from grammar.source import Source, Span
from grammar.syntax import parse_tree
from grammar.translate import translate

_BYTE_ORDER_MARK = "\ufeff"


def parse(text: bytes | str, *, name: str) -> Containerfile:
    """Read a whole file; `name` is the path that errors show.

    Raises ContainerfileErrors, which holds all faults in the order of the file.
    """
    source = _decode(text, name)
    errors: list[ContainerfileError] = []
    directives = read_directives(source, errors)
    escape = directives.escape
    lines = tuple(read_lines(source, escape=escape, skip=directives.line_count, errors=errors))
    read = [(line, _read(Context(source, line, escape, errors))) for line in lines]
    preamble, stages = _assemble(source, read, errors)
    if errors:
        raise ContainerfileErrors(errors)
    return Containerfile(
        source=source,
        escape=escape,
        directives=directives.found,
        preamble=preamble,
        stages=stages,
        blank_continuations=tuple(number for line in lines for number in line.blank_lines),
    )


def parse_trigger(text: str, *, name: str) -> Instruction:
    """Read one instruction, as an image keeps it for ONBUILD. Raises ContainerfileErrors."""
    source = _decode(text, name)
    errors: list[ContainerfileError] = []
    lines = tuple(read_lines(source, escape="\\", skip=0, errors=errors))
    instructions = [_read(Context(source, line, "\\", errors)) for line in lines]
    if len(lines) != 1:
        place = lines[1].whole if lines else _start(source)
        message = f"a trigger is one instruction, found {len(lines)}"
        errors.append(ContainerfileError(message, span=place, source=source))
    if errors:
        raise ContainerfileErrors(errors)
    (instruction,) = instructions
    assert instruction is not None
    return instruction


def _read(context: Context) -> Instruction | None:
    tree = parse_tree(context)
    return None if tree is None else translate(context, tree)


def _decode(text: bytes | str, name: str) -> Source:
    """The source, if it is text at all; these faults leave nothing to go on with."""
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
    except UnicodeDecodeError as error:
        readable = error.object[: error.start].decode("utf-8")
        raise _invalid_utf8(readable, error.object[error.start], name) from None
    source = Source(name, decoded.removeprefix(_BYTE_ORDER_MARK))
    errors = [*_nul_characters(source), *_long_lines(source)]
    if errors:
        raise ContainerfileErrors(errors)
    return source


def _invalid_utf8(readable: str, byte: int, name: str) -> ContainerfileErrors:
    shown = Source(name, readable.removeprefix(_BYTE_ORDER_MARK) + "\N{REPLACEMENT CHARACTER}")
    span = Span.within(len(shown.lines), len(shown.lines[-1]))
    message = f"byte 0x{byte:02x} is not UTF-8"
    return ContainerfileErrors([ContainerfileError(message, span=span, source=shown)])


def _nul_characters(source: Source) -> Iterable[ContainerfileError]:
    if "\0" not in source.text:
        return
    for number, line in enumerate(source.lines, 1):
        column = line.find("\0") + 1
        if column:
            span = Span.within(number, column)
            yield ContainerfileError("NUL character", span=span, source=source)


def _long_lines(source: Source) -> Iterable[ContainerfileError]:
    for number, line in enumerate(source.lines, 1):
        size = len(line) if line.isascii() else len(line.encode(errors="replace"))
        if size > MAX_LINE_BYTES:
            span = Span.within(number, 1, len(line))
            message = f"the line is {size} bytes long, the limit is {MAX_LINE_BYTES}"
            yield ContainerfileError(message, span=span, source=source)


Read = list[tuple[LogicalLine, Instruction | None]]


def _assemble(
    source: Source, read: Read, errors: list[ContainerfileError]
) -> tuple[tuple[Arg, ...], tuple[Stage, ...]]:
    """Sort the instructions into the preamble and stages."""
    starts = [
        index for index, (_, instruction) in enumerate(read) if isinstance(instruction, From)
    ]
    first = starts[0] if starts else len(read)
    preamble = _preamble(source, read[:first], errors)
    if not read:
        message = "no instructions" if source.text else "the file is empty"
        span = _start(source)
        errors.append(
            ContainerfileError(message, span=span, source=source, hint="start with FROM")
        )
    elif not starts and not errors:
        span = read[-1][0].whole
        hint = "add FROM IMAGE, or FROM scratch for an empty start"
        errors.append(ContainerfileError("no FROM", span=span, source=source, hint=hint))
    ends = [*starts[1:], len(read)]
    stages = tuple(
        _stage(index, read[start:end])
        for index, (start, end) in enumerate(zip(starts, ends, strict=False))
    )
    return preamble, stages


def _preamble(source: Source, read: Read, errors: list[ContainerfileError]) -> tuple[Arg, ...]:
    args: list[Arg] = []
    for _, instruction in read:
        # A line that could not be read may have been the FROM: what follows it is no news.
        if instruction is None:
            break
        if isinstance(instruction, Arg):
            args.append(instruction)
            continue
        message = f"{instruction.text.split()[0].upper()} stands before the first FROM"
        hint = "only ARG can stand there"
        errors.append(ContainerfileError(message, span=instruction.span, source=source, hint=hint))
        break
    return tuple(args)


def _stage(index: int, read: Read) -> Stage:
    from_, *instructions = [instruction for _, instruction in read if instruction is not None]
    assert isinstance(from_, From)
    end = read[-1][0].whole
    return Stage(
        span=from_.span.through(end),
        index=index,
        name=from_.name,
        from_=from_,
        instructions=tuple(instructions),
    )


def _start(source: Source) -> Span:
    number = next((n for n, line in enumerate(source.lines, 1) if line.strip()), 1)
    return Span.within(number, 1, max(1, len(source.lines[number - 1])))
