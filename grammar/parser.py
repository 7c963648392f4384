"""`parse`: bytes -> Containerfile, or every fault of the file at once.

The order of the passes: decode, directives, lines (lines.py), one tree for each instruction
(syntax.py), instructions (translate.py), stages (here). A broken instruction is left out and
reading goes on, so a file is corrected in one round.
"""

from __future__ import annotations

from grammar.containerfile import Containerfile, Stage
from grammar.context import Context
from grammar.decoding import decode
from grammar.directives import Directives, read_directives
from grammar.errors import ContainerfileError, ContainerfileErrors, ContainerfileWarning
from grammar.instructions import Arg, From, Instruction
from grammar.limits import MAX_ERRORS, MAX_INSTRUCTIONS, MAX_WARNINGS, MAX_WORDS
from grammar.lines import LogicalLine, read_lines
from grammar.source import Source, Span
from grammar.syntax import parse_tree
from grammar.translate import translate


def parse(text: bytes | str, *, name: str) -> Containerfile:
    """Read a whole file; `name` is the path that errors show.

    Raises ContainerfileErrors, which holds all faults in the order of the file.
    """
    source = decode(text, name)
    errors: list[ContainerfileError] = []
    warnings: list[ContainerfileWarning] = []
    directives = read_directives(source, errors, warnings)
    escape = directives.escape
    lines = _lines(source, directives, errors)
    read: Read = []
    for line in lines:
        read.append((line, _read(Context(source, line, escape, errors, warnings))))
        if len(errors) >= MAX_ERRORS:
            break
    preamble, stages = _assemble(source, read, errors)
    if errors:
        raise ContainerfileErrors(errors)
    blanks = tuple(number for line in lines for number in line.blank_lines)
    warnings += map(_blank_continuation, blanks)
    return Containerfile(
        source=source,
        escape=escape,
        directives=directives.found,
        preamble=preamble,
        stages=stages,
        blank_continuations=blanks,
        warnings=tuple(sorted(warnings, key=lambda warning: warning.span)[:MAX_WARNINGS]),
    )


def parse_trigger(text: str, *, name: str) -> Instruction:
    """Read one instruction, as an image keeps it for ONBUILD. Raises ContainerfileErrors."""
    source = decode(text, name)
    errors: list[ContainerfileError] = []
    lines = tuple(read_lines(source, escape="\\", skip=0, errors=errors))
    instructions = [_read(Context(source, line, "\\", errors, [])) for line in lines]
    if len(lines) != 1:
        place = lines[1].whole if lines else _start(source)
        message = f"a trigger is one instruction, found {len(lines)}"
        errors.append(ContainerfileError(message, span=place, source=source, code="bad-trigger"))
    if errors:
        raise ContainerfileErrors(errors)
    (instruction,) = instructions
    assert instruction is not None
    return instruction


def _read(context: Context) -> Instruction | None:
    tree = parse_tree(context)
    return None if tree is None else translate(context, tree)


def _lines(
    source: Source, directives: Directives, errors: list[ContainerfileError]
) -> tuple[LogicalLine, ...]:
    """The instructions, as many as the limits allow; what exceeds them is one error."""
    lines: list[LogicalLine] = []
    words = 0
    read = read_lines(source, escape=directives.escape, skip=directives.line_count, errors=errors)
    for line in read:
        words += _word_count(line)
        message = ""
        if len(lines) == MAX_INSTRUCTIONS:
            message = f"more than {MAX_INSTRUCTIONS} instructions"
        elif words > MAX_WORDS:
            message = f"more than {MAX_WORDS} words in the instructions of a file"
        if message:
            number = line.whole.line
            span = Span.within(number, 1, max(1, len(source.lines[number - 1])))
            errors.append(
                ContainerfileError(message, span=span, source=source, code="file-too-large")
            )
            break
        lines.append(line)
    return tuple(lines)


def _word_count(line: LogicalLine) -> int:
    # A JSON array needs no blanks, but quotes.
    count = max(line.text.count(" "), line.text.count('"') // 2) + len(line.markers)
    if line.heredocs and line.text[:9].upper() in ("BOOTSTRAP", "ONBUILD B"):
        count += sum(len(heredoc.body.split()) for heredoc in line.heredocs)
    return count


def _blank_continuation(number: int) -> ContainerfileWarning:
    return ContainerfileWarning(
        code="empty-continuation",
        message="a blank line inside an instruction is skipped; BuildKit will refuse it one day",
        span=Span.within(number, 1),
        hint="remove it, or start it with #",
    )


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
        hint = "start with FROM"
        errors.append(
            ContainerfileError(message, span=span, source=source, hint=hint, code="no-from")
        )
    elif not starts and not errors:
        span = read[-1][0].whole
        hint = "add FROM IMAGE, or FROM scratch for an empty start"
        errors.append(
            ContainerfileError("no FROM", span=span, source=source, hint=hint, code="no-from")
        )
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
        errors.append(
            ContainerfileError(
                message, span=instruction.span, source=source, hint=hint, code="before-from"
            )
        )
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
