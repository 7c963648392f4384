"""The long explanation of an error, out of ERRORS.md."""

from __future__ import annotations

import os
import re


def explain(code: str) -> str | None:
    """What an error code means and what to do, as Markdown; None for an unknown code."""
    return explanations().get(code)


def explanations() -> dict[str, str]:
    """Every code with its explanation, in the order of the page."""
    path = os.path.join(os.path.dirname(__file__), "ERRORS.md")
    with open(path, encoding="utf-8") as file:
        _, *sections = re.split(r"^## ", file.read(), flags=re.MULTILINE)
    found: dict[str, str] = {}
    for section in sections:
        code, _, text = section.partition("\n")
        # A chapter ends the section. A comment in an example does not: no blank line before it.
        found[code] = re.split(r"\n\n# ", text)[0].strip() + "\n"
    return found
