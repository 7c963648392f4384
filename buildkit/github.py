"""In a job of GitHub Actions: where an error is, beside its line; outputs of the step; a summary.

(docs.github.com, "Workflow commands for GitHub Actions".) All of it is asked for by the variables
that the runner sets, and nobody else.
"""

from __future__ import annotations

import json
import os

from buildkit.errors import BuildError, DiskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildkit.recorded import Recorded


def is_here() -> bool:
    """Whether this is such a job."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotate(error: BuildError) -> str:
    """Workflow commands that show an error beside its line, or in the job as a whole."""
    lines = []
    for document in error.documents or ({"message": error.message},):
        assert isinstance(document, dict)
        properties = {
            "file": _in_workspace(document.get("file")),
            "line": document.get("line"),
            "col": document.get("column"),
            "endLine": document.get("end_line"),
            "endColumn": document.get("end_column"),
            "title": "pybuild",
        }
        said = ",".join(f"{k}={_property(str(v))}" for k, v in properties.items() if v is not None)
        message = str(document["message"])
        if hint := document.get("hint") or error.hint:
            message += f"\nhint: {hint}"
        lines.append(f"::error {said}::{_data(message)}\n")
    return "".join(lines)


def tell(found: Recorded, names: tuple[str, ...]) -> None:
    """What docker/build-push-action gives as outputs, and a summary; raises DiskError."""
    outputs = {"digest": found.digest, "imageid": found.config_digest or found.digest}
    write_outputs(outputs)
    rows = [("name", name) for name in names] + list(outputs.items())
    write_summary("pybuild", [*rows, ("steps", str(len(found.titles)))])


def tell_of_targets(tables: Mapping[str, Mapping[str, object]]) -> None:
    """What docker/bake-action gives as output, and a summary; raises DiskError.

    The tables are those of `--metadata-file`.
    """
    write_outputs({"metadata": json.dumps(tables, sort_keys=True)})
    rows = [(name, str(table["containerimage.digest"])) for name, table in tables.items()]
    write_summary("pybuild bake", rows)


def write_outputs(outputs: Mapping[str, str]) -> None:
    """Give the step outputs, for `${{ steps.ID.outputs.NAME }}`; raises DiskError."""
    _append("GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in outputs.items()))


def write_summary(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Add a table to the summary of the job; raises DiskError."""
    lines = [f"### {_cell(title)}", "", "| | |", "| --- | --- |"]
    lines += [f"| {_cell(name)} | `{_cell(value)}` |" for name, value in rows]
    _append("GITHUB_STEP_SUMMARY", "".join(f"{line}\n" for line in (*lines, "")))


def _in_workspace(path: object) -> str | None:
    """A path as the repository has it."""
    if not isinstance(path, str):
        return None
    workspace = os.environ.get("GITHUB_WORKSPACE", "")
    inside = workspace and os.path.abspath(path).startswith(f"{workspace}/")
    return os.path.relpath(path, workspace) if inside else path


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise DiskError(f"{variable}={path}: {error.strerror}") from error


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _cell(text: str) -> str:
    """In one cell of a table of Markdown."""
    return " ".join(text.replace("|", "\\|").replace("`", "'").split())
