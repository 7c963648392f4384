"""What is legal in a Containerfile but probably not meant: `lint` -> findings.

    result = lint(containerfile, LintContext(build_args={"VERSION": "1"}))
    print(formats.to_text(containerfile, result))

The rules of BuildKit are here under their names, with their meaning and their lines
(https://docs.docker.com/reference/build-checks/), and after them our own. Each rule is a value
in `RULES`; `# check=` says which of them a file wants (options.py).
"""

from grammar.lint.engine import lint
from grammar.lint.model import Finding, LintContext, LintResult, Rule
from grammar.lint.options import CheckOptionError
from grammar.lint.rules import RULES

__all__ = [
    "RULES",
    "CheckOptionError",
    "Finding",
    "LintContext",
    "LintResult",
    "Rule",
    "lint",
]
