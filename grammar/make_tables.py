"""`python -m grammar.make_tables`: writes the tables after a change of the grammar."""

from __future__ import annotations

import json
from pathlib import Path

from grammar.tables import TABLES, path_of, serialized


def main() -> None:
    """Write the tables beside the grammar."""
    text = json.dumps(serialized(), default=list, separators=(",", ":"), ensure_ascii=False)
    Path(path_of(TABLES)).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
