"""What --mount=type=secret gave a BOOTSTRAP, and how it is kept out of all that others read."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterable, Mapping

from runtime.record import Record

_HIDDEN = "***"
# Options of a .repo file whose values are nobody's business, if the file is a secret.
_PRIVATE = ("password", "proxy_password", "proxy", "baseurl", "metalink", "mirrorlist")


class Secrets(Record):
    """Files by their targets, variables by their names."""

    files: Mapping[str, bytes]
    variables: Mapping[str, str]

    def __repr__(self) -> str:
        return "Secrets(…)"

    @property
    def words(self) -> tuple[str, ...]:
        """What must not be shown, the longest first."""
        found = {value for value in self.variables.values() if value}
        for content in self.files.values():
            found.update(_private_words(content.decode("utf-8", "replace")))
        return tuple(sorted(found, key=len, reverse=True))

    def hidden(self, text: str) -> str:
        """A text without them."""
        for word in self.words:
            text = text.replace(word, _HIDDEN)
        return text


def _private_words(text: str) -> Iterable[str]:
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:  # no .repo file: it is shown to nobody
        return
    for section in parser.sections():
        for name in _PRIVATE:
            for word in parser.get(section, name, fallback="").split():
                if len(word) > 2:  # as proxy=_none_ or a part of some list
                    yield word.rstrip("/")


def secret_name(target: str) -> str:
    """The name of the file that a secret with this target gets."""
    return target.strip("/").replace("/", "-")


def write_secrets(secrets: Secrets, place: str) -> None:
    """Write the files of secrets into a new directory, for its owner's eyes only."""
    os.mkdir(place, 0o700)
    for target, content in secrets.files.items():
        fd = os.open(f"{place}/{secret_name(target)}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
