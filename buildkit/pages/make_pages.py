"""`python -m buildkit.pages.make_pages`: writes buildkit/pages/share, after a change of options
or help texts.
"""

from __future__ import annotations

from pathlib import Path

from buildkit.pages.bash import bash_completions
from buildkit.pages.fish import fish_completions
from buildkit.pages.manual import manual_pages
from buildkit.pages.zsh import zsh_completions


def made() -> dict[str, str]:
    """All files, by where they are below share/, which is where shells and man look."""
    return {
        f"{directory}/{name}": text
        for directory, files in (
            ("bash-completion/completions", bash_completions()),
            ("zsh/site-functions", zsh_completions()),
            ("fish/vendor_completions.d", fish_completions()),
            ("man/man1", manual_pages()),
        )
        for name, text in files.items()
    }


def main() -> None:
    """Write the files, and remove those of verbs that are no more."""
    share = Path("buildkit/pages/share")
    files = made()
    for path in list(share.rglob("*")):
        if path.is_file() and str(path.relative_to(share)) not in files:
            path.unlink()
    for name, text in files.items():
        path = share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
