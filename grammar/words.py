"""Words taken apart: text, quotes, variables, before any value is known.

A `Template` is what `expansion` evaluates. Malformed words raise ExpansionError here, so a
file can be checked without an environment.

Written by hand, not as a second lark grammar: which characters are plain depends on what a
word stands in (`}` ends an operand, `'` is text between double quotes), and lark's contextual
lexer cannot tell, because LALR merges the states that follow `$name` in all these places.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from grammar.record import Record

MAX_DEPTH = 50  # of ${a:-${b:-...}}: reading and evaluating recurse once per level


class ExpansionError(ValueError):
    """A word that cannot be expanded; `start` and `end` are offsets in it."""

    def __init__(
        self, message: str, start: int, end: int, *, code: str = "bad-variable", variable: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.code = code
        self.variable = variable  # the name, when the fault is that it has no value


class Text(Record, kw_only=False):
    """Characters that stand for themselves; `quoted` ones are never split into words."""

    text: str
    quoted: bool


class Variable(Record):
    """`$name` or `${name...}`; `operator` is empty when there is only a name."""

    name: str
    operator: str
    operand: Template
    replacement: Template
    quoted: bool
    start: int
    end: int


Template = tuple[Text | Variable, ...]


def parse_word(text: str, escape: str) -> Template:
    """Take one word apart; raises ExpansionError."""
    if _is_plain(text, escape):
        return (Text(text, quoted=False),)
    return _word(text, escape)


def parse_body(text: str) -> Template:
    """Take the body of a heredoc apart: quotes are text, and the escape is the backslash.

    `# escape=` does not reach into heredocs; a backslash at the end of a line joins it to the
    next.
    """
    return _Reader(text, "\\", quotes=False).template("", depth=0)


def unquote(text: str, escape: str = "\\") -> str:
    """Remove quotes and escapes from a word whose variables are not expanded."""
    if _is_plain(text, escape):
        return text
    e = re.escape(escape)

    def bare(match: re.Match[str]) -> str:
        escaped, double, single = match.groups()
        if double is not None:
            return re.sub(rf'{e}(["${e}])', r"\1", double)
        return str(single if escaped is None else escaped)

    return re.sub(rf"""{e}(.)|"((?:{e}.|[^"])*+)"|'([^']*+)'""", bare, text, flags=re.DOTALL)


def _is_plain(text: str, escape: str) -> bool:
    return not ("$" in text or '"' in text or "'" in text or escape in text)


@lru_cache(maxsize=1024)
def _word(text: str, escape: str) -> Template:
    return _Reader(text, escape, quotes=True).template("", depth=0)


@cache
def _plain(special: str) -> re.Pattern[str]:
    return re.compile(f"[^{re.escape(special)}]+")


_NAME = re.compile(r"[^\W\d]\w*|\d+|[@*#?\-$!]")
_OPERATOR = re.compile(r":?[-+?]|##?|%%?|//?")


class _Reader:
    """Recursive descent over one word; `_position` is all that changes."""

    def __init__(self, text: str, escape: str, *, quotes: bool) -> None:
        self._text = text
        self._escape = escape
        self._quotes = "\"'" if quotes else ""
        self._position = 0

    def template(self, stops: str, *, depth: int, raw: bool = False) -> Template:
        """template: (plain | escaped | '...' | "..." | variable)* up to one of `stops`.

        A `raw` template keeps its escapes: what they quote is up to the pattern.
        """
        parts: list[Text | Variable] = []
        plain = _plain("$" + self._escape + self._quotes + stops)
        while self._position < len(self._text):
            if match := plain.match(self._text, self._position):
                parts.append(Text(match.group(), quoted=False))
                self._position = match.end()
                continue
            char = self._text[self._position]
            if char in stops:
                break
            if char == "$":
                parts.append(self._dollar(quoted=False, depth=depth))
            elif char == "'":
                parts.append(self._single_quoted())
            elif char == '"':
                parts += self._double_quoted(depth=depth)
            else:
                parts.append(self._escaped(raw=raw))
        return tuple(parts)

    def _escaped(self, *, raw: bool) -> Text:
        """escaped: ESCAPE any; at the end of the word it quotes nothing and is dropped."""
        pair = self._text[self._position : self._position + 2]
        self._position += 2
        if raw:
            return Text(pair, quoted=True)
        if pair[1:] == "\n" and not self._quotes:
            return Text("", quoted=True)
        return Text(pair[1:], quoted=True)

    def _single_quoted(self) -> Text:
        """single_quoted: "'" (not "'")* "'" """
        end = self._text.find("'", self._position + 1)
        if end < 0:
            raise self._error("unterminated single quote", self._position, code="open-quote")
        text = self._text[self._position + 1 : end]
        self._position = end + 1
        return Text(text, quoted=True)

    def _double_quoted(self, *, depth: int) -> Template:
        """double_quoted: '"' (plain | ESCAPE ('"' | "$" | ESCAPE) | variable)* '"'"""
        start = self._position
        self._position += 1
        parts: list[Text | Variable] = [Text("", quoted=True)]
        plain = _plain('$"' + self._escape)
        while self._position < len(self._text):
            if match := plain.match(self._text, self._position):
                parts.append(Text(match.group(), quoted=True))
                self._position = match.end()
                continue
            char = self._text[self._position]
            if char == '"':
                self._position += 1
                return tuple(parts)
            if char == "$":
                parts.append(self._dollar(quoted=True, depth=depth))
                continue
            following = self._text[self._position + 1 : self._position + 2]
            escapes = following in ('"', "$", self._escape) and following != ""
            parts.append(Text(following if escapes else char, quoted=True))
            self._position += 2 if escapes else 1
        raise self._error("unterminated double quote", start, code="open-quote")

    def _dollar(self, *, quoted: bool, depth: int) -> Text | Variable:
        """variable: "$" NAME | braced; a "$" before anything else is text."""
        start = self._position
        if self._text.startswith("{", start + 1):
            return self._braced(quoted=quoted, depth=depth + 1)
        match = _NAME.match(self._text, start + 1)
        self._position = match.end() if match else start + 1
        if match is None:
            return Text("$", quoted=quoted)
        return self._variable(match.group(), start, quoted=quoted)

    def _braced(self, *, quoted: bool, depth: int) -> Variable:
        """braced: "${" NAME "}" | "${" NAME OPERATOR operand ("/" replacement)? "}" """
        start = self._position
        if depth > MAX_DEPTH:
            raise self._error(f"variables nested more than {MAX_DEPTH} deep", start)
        name = _NAME.match(self._text, start + 2)
        if name is None:
            if start + 2 >= len(self._text):
                raise self._error("missing '}'", start)
            raise self._error("bad substitution: expected a name after '${'", start, start + 3)
        self._position = name.end()
        operator = self._operator(start)
        operand: Template = ()
        replacement: Template = ()
        if operator.startswith("/"):
            operand = self.template("/}", depth=depth, raw=True)
            if self._text.startswith("/", self._position):
                self._position += 1
                replacement = self.template("}", depth=depth)
        elif operator:
            operand = self.template("}", depth=depth, raw=operator[0] in "#%")
        if not self._text.startswith("}", self._position):
            raise self._error("missing '}'", start)
        self._position += 1
        return self._variable(name.group(), start, operator, operand, replacement, quoted=quoted)

    def _operator(self, start: int) -> str:
        if self._text.startswith("}", self._position):
            return ""
        if self._position >= len(self._text):
            raise self._error("missing '}'", start)
        match = _OPERATOR.match(self._text, self._position)
        if match is None:
            end = self._position + (2 if self._text[self._position] == ":" else 1)
            modifier = self._text[self._position : end]
            message = f"unsupported modifier '{modifier}' in '${{...}}'"
            raise self._error(message, self._position, end)
        self._position = match.end()
        return match.group()

    def _variable(
        self,
        name: str,
        start: int,
        operator: str = "",
        operand: Template = (),
        replacement: Template = (),
        *,
        quoted: bool,
    ) -> Variable:
        return Variable(
            name=name,
            operator=operator,
            operand=operand,
            replacement=replacement,
            quoted=quoted,
            start=start,
            end=self._position,
        )

    def _error(
        self, message: str, start: int, end: int | None = None, *, code: str = "bad-variable"
    ) -> ExpansionError:
        size = len(self._text)
        end = size if end is None else min(end, size)
        return ExpansionError(message, start, end, code=code)
