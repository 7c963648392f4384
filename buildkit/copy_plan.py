"""Planning COPY and ADD (Dockerfile reference, "COPY" and "ADD")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildkit import history
from buildkit.add_plan import check_names, plan_remote
from buildkit.steps import About, ContextBase, CopyStep, InlineFile, Source
from buildkit.urls import without_password
from grammar import Add, Copy, Span, Word

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildkit.stage_plan import StagePlanner

_REMOTE = ("http://", "https://", "git@", "ssh://", "git://")


def plan_copy(stage: StagePlanner, copy: Copy | Add) -> CopyStep:
    """Expand one COPY or ADD; raises ContainerfileError."""
    origin, context = None, ""
    if isinstance(copy, Copy) and copy.from_ is not None:
        found = stage.origin(copy.from_, None)
        origin, context = (None, found.name) if isinstance(found, ContextBase) else (found, "")
    sources = tuple(_source(stage, word, copy) for word in copy.sources)
    parents = isinstance(copy, Copy) and copy.parents
    written = stage.expand(copy.destination)
    destination = stage.absolute(written)
    # Several sources, a final slash, "." and --parents all say that it is a directory.
    if (
        written.endswith(("/", "/."))
        or written in ("", ".")
        or len(sources) + len(copy.heredocs) > 1
        or parents
    ):
        destination = destination.rstrip("/") + "/"
    if isinstance(copy, Add):
        check_names(stage, copy, sources, destination)
    return CopyStep(
        about=stage.about(copy, _history(copy, sources, written, stage.expand_optional)),
        sources=sources,
        inline=tuple(
            InlineFile(name=heredoc.name, content=stage.expand_heredoc(heredoc))
            for heredoc in copy.heredocs
        ),
        origin=origin,
        context=context,
        destination=destination,
        chown=stage.expand_optional(copy.chown),
        chmod=None if copy.chmod is None else stage.mode(copy.chmod),
        unpacks=isinstance(copy, Add) and copy.unpack is not False,
        unpacks_fetched=isinstance(copy, Add) and copy.unpack is True,
        exclude=tuple(_exclusion(stage, word) for word in copy.exclude),
        parents=parents,
        link=copy.link,
    )


def _history(
    copy: Copy | Add,
    sources: tuple[Source, ...],
    destination: str,
    expand: Callable[[Word | None], str],
) -> str:
    """The instruction as BuildKit writes it down: expanded, and not all of its flags."""
    words = ["COPY" if isinstance(copy, Copy) else "ADD"]
    if isinstance(copy, Copy) and copy.parents:
        words.append("--parents")
    for name, flag in (("chown", copy.chown), ("chmod", copy.chmod)):
        if value := expand(flag):
            words.append(f"--{name}={value}")
    words += [s.path if s.remote is None else without_password(s.path) for s in sources]
    words += [f"<<{heredoc.name}" for heredoc in copy.heredocs]
    return history.made_files(" ".join((*words, destination)))


def _exclusion(stage: StagePlanner, word: Word) -> str:
    from grammar.ignore import exclusions
    from grammar.ignore_patterns import IgnorePatternError

    pattern = stage.unquote(word)
    try:
        exclusions([pattern])
    except IgnorePatternError as error:
        raise stage.error(f"--exclude {pattern!r}: {error}", word.span, error.hint) from None
    return pattern


def copy_of_context(name: str, span: Span) -> CopyStep:
    """What makes a named directory a root filesystem."""
    text = f"FROM {name}"
    return CopyStep(
        about=About(span=span, text=text, created_by=history.made_files(text), author=""),
        sources=(Source(path=".", span=span),),
        inline=(),
        origin=None,
        context=name,
        destination="/",
        chown="",
        chmod=None,
        unpacks=False,
    )


def _source(stage: StagePlanner, word: Word, copy: Copy | Add) -> Source:
    path = stage.expand(word)
    if isinstance(copy, Add):
        return Source(path=path, span=word.span, remote=plan_remote(stage, copy, word, path))
    if path.startswith(_REMOTE):
        raise stage.error("COPY takes no URL", word.span, "ADD does")
    return Source(path=path, span=word.span)
