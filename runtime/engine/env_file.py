"""Variables of a command line: `-e NAME[=VALUE]` and `--env-file FILE`."""

from __future__ import annotations

import os

from runtime.errors import UsageError

_BLANKS = " \t"


def read_env_file(path: str) -> tuple[str, ...]:
    """The lines of a file as `-e` takes them: NAME=VALUE, or NAME for the caller's own.

    As docker: nothing is unquoted; empty lines and those that begin with # count for nothing.
    Raises UsageError.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError as error:
        raise UsageError(f"--env-file {path}: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        text = line.removesuffix("\r").lstrip(_BLANKS)
        if not text or text.startswith("#"):
            continue
        name = text.partition("=")[0]
        if not name or any(blank in name for blank in _BLANKS):
            raise UsageError(f"--env-file {path}:{number}: {text!r}: NAME=VALUE or NAME expected")
        if "\0" in text:
            raise UsageError(f"--env-file {path}:{number}: a variable cannot hold a NUL")
        found.append(text)
    return tuple(found)


def with_files(fields: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Take `env` and `env_files` out of parsed fields: what `-e` says wins over the files."""
    files = fields.pop("env_files", ())
    env = fields.pop("env", ())
    return tuple(item for path in files for item in read_env_file(path)) + env


def merged(base: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """An environment with what was asked for; raises UsageError for a variable without a name."""
    values = dict(item.split("=", 1) for item in base if "=" in item)
    for item in asked:
        name, equals, value = item.partition("=")
        if not name:
            raise UsageError(f"-e {item!r}: NAME=VALUE or NAME expected")
        if equals:
            values[name] = value
        elif name in os.environ:
            values[name] = os.environ[name]
    return tuple(f"{name}={value}" for name, value in values.items())
