"""Manual pages and completions: they are of the tables as these are, and they work."""

from __future__ import annotations

import os
import pkgutil
import pty
import re
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType

import pytest

import buildkit
import runtime
from buildkit import archive_commands, image_commands, registry_commands, store_commands
from buildkit.pages.catalogue import commands
from buildkit.pages.help_text import Entry, Paragraph, Verbatim, parse_help
from buildkit.pages.make_pages import made
from runtime.engine.cli import VERBS
from runtime.lifecycle.command_line import VERBS as OCI_VERBS
from runtime.options import OptionTable
from tests.support import CHECKOUT, Caller, command, environment, run

SHARE = CHECKOUT / "buildkit/pages/share"
BASH = SHARE / "bash-completion/completions"
FISH = SHARE / "fish/vendor_completions.d"
ZSH = SHARE / "zsh/site-functions"
MAN = SHARE / "man/man1"


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        # The resolver runs under the Python of the host's dnf.
        if not found.name.endswith(("__main__", "dnf_resolver")):
            yield import_module(found.name)


def _tables() -> dict[str, OptionTable]:
    """All tables there are, wherever they are: "pyrun ps" -> what it takes."""
    tables = {}
    for module in (*_modules(buildkit), *_modules(runtime)):
        for value in vars(module).values():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, OptionTable):
                    tables[one.program] = one
    return tables | {table.program: table for table in (make() for make in OCI_VERBS.values())}


def _page(program: str) -> str:
    words = program.split()
    while not (path := MAN / f"{'-'.join(words)}.1").exists():
        words.pop()
    text = path.read_text()
    return (MAN.parent / text.split()[1]).read_text() if text.startswith(".so ") else text


def _sections(program: str) -> tuple[str, str, str]:
    """What the scripts for bash, zsh and fish have on one command."""
    name, _, key = program.partition(" ")
    bash = (BASH / name).read_text().partition(f"        '{key}')\n")[2].partition(";;")[0]
    zsh = (ZSH / f"_{name}").read_text().partition(f"        ('{key}')\n")[2].partition(";;")[0]
    lines = (FISH / f"{name}.fish").read_text().splitlines()
    return bash, zsh, "\n".join(line for line in lines if f"_at '{key}'\"" in line)


def test_the_files_are_what_the_tables_and_help_texts_make() -> None:
    found = {
        str(path.relative_to(SHARE)): path.read_text()
        for path in SHARE.rglob("*")
        if path.is_file()
    }
    assert found == made(), "python -m buildkit.pages.make_pages writes them anew"


def test_a_wheel_brings_them_to_where_shells_and_man_look() -> None:
    files = distribution("pybuild").files or []
    if any("__editable__" in str(file) for file in files):
        pytest.skip("an editable installation has no data files")
    installed = {str(file).partition("share/")[2] for file in files if "share/" in str(file)}
    assert installed == set(made())


def test_every_option_of_every_table_is_in_a_page_and_in_the_completions() -> None:
    tables = _tables()
    assert {"pybuild", "pybuild bake", "pyrun", "pyrun ps", "pyrun oci exec"} <= tables.keys()
    for program, table in tables.items():
        page, (bash, zsh, fish) = _page(program), _sections(program)
        # A table of several commands has the name of the first, which may not take all.
        within = bash if program.startswith("pyrun") else (BASH / "pybuild").read_text()
        for option in (*table.values, *table.lists, *table.flags):
            bare = option.lstrip("-")
            where = f"{program} {option}"
            assert f"\\fB{option.replace('-', chr(92) + '-')}\\fR" in page, where
            assert re.search(rf"[ ']{option}[ '=]", within), where
            if program.startswith("pyrun"):
                letter = "-s" if len(option) == 2 else "-l"
                assert re.search(rf"\){option}[=+[]|\*{option}[=+[]", zsh), where
                assert f" {letter} {bare} " in fish, where


def test_every_verb_is_completed_and_has_a_page() -> None:
    families = (archive_commands, image_commands, registry_commands, store_commands)
    verbs = {
        "pyrun": [*VERBS, "info", "bundle", "oci"],
        "pyrun-oci": list(OCI_VERBS),
        "pybuild": ["bake", "doctor", "sbom", "shell", "lock", "verify-reproducible"]
        + [verb for family in families for verb in family.ALLOWED if " " not in verb],
    }
    for program, words in verbs.items():
        assert set(words) <= set(_completed(f"{program} ")), program
        zsh, fish = (ZSH / f"_{program}").read_text(), (FISH / f"{program}.fish").read_text()
        for word in words:
            assert f"'{word}:" in zsh, word
            assert f" -a {word} -d " in fish, word
            if program != "pyrun-oci":
                assert (MAN / f"{program}-{word}.1").exists(), word


@pytest.mark.parametrize(
    ("shell", "where"),
    [
        pytest.param(shell, where, marks=pytest.mark.needs_program(shell))
        for shell, where in (("bash", BASH), ("zsh", ZSH), ("fish", FISH))
    ],
)
def test_shells_can_read_them(shell: str, where: Path) -> None:
    for path in where.iterdir():
        result = run([shell, "-n", path])
        assert (result.status, result.stderr) == (0, ""), path


@pytest.mark.needs_program("shellcheck")
def test_shellcheck_finds_nothing() -> None:
    result = run(["shellcheck", "-s", "bash", *BASH.iterdir()])
    assert (result.status, result.stdout) == (0, "")


@pytest.mark.needs_program("groff")
def test_groff_has_no_warning() -> None:
    for path in MAN.iterdir():
        asked = ["groff", "-s", "-man", "-Tutf8", "-ww", "-z", str(path)]
        assert run(asked, cwd=MAN.parent) == run(["true"]), path


@pytest.mark.needs_program("man")
def test_man_shows_a_page_and_one_by_its_other_name() -> None:
    env = environment(None, MANWIDTH="80", LC_ALL="C.UTF-8", MANPATH=str(SHARE / "man"))
    text = run(["man", "pybuild-rmi"], env=env).stdout
    if "minimized" in text:
        pytest.skip("man is not really there")
    assert text.startswith("PYBUILD-IMAGES(1)")
    assert "-f, --force\n" in text
    assert "EXIT STATUS" in text


def test_a_help_text_comes_apart() -> None:
    text = (
        "usage: x [-a]\n\nWords and\nmore.\n\n"
        "  -a, --all N|M    one,\n                   two\n      --both, --three  said\n"
        "      --list A,\n      --other B    of these\n\n"
        "  as it\n    is\n\nExit status: 0; 1 no.\n"
    )
    found = parse_help(text)
    assert found.usage == ("x [-a]",)
    assert found.exit_status == "0; 1 no."
    assert found.parts == (
        Paragraph(text="Words and more."),
        Entry(term="-a, --all N|M", text="one, two"),
        Entry(term="--both, --three", text="said"),
        Entry(term="--list A, --other B", text="of these"),
        Verbatim(lines=("as it", "  is")),
    )
    assert next(found.entries()).taken() == {"-a": "", "--all": "N|M"}


def test_a_letter_that_two_options_share_gets_neither_the_text_of_the_other() -> None:
    options = {
        (command.name, option.names): (option.takes, option.text)
        for command in commands()
        for option in command.options
    }
    assert options["pyrun", ("-t", "--tty")] == (None, "give it a terminal")
    assert options["pyrun rm", ("-t", "--time")] == ("SECONDS", "how long they get to end")
    assert options["pybuild images", ("-f", "--format")][0] == "text|json"
    assert options["pybuild rmi", ("-f", "--force")][1].startswith("an id with several names")


# --- what bash makes of it ------------------------------------------------------------------


def _completed(line: str, store: Path | None = None, cwd: Path | None = None) -> list[str]:
    """What bash offers at the end of a line, behind the last `:` or `=` of it."""
    program = line.split()[0]
    script = (
        f". '{BASH / program}'; COMP_LINE=$1 COMP_POINT=${{#1}}; "
        f"_{program.replace('-', '_')}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    env = environment(None, **({"PYBUILD_ROOT": str(store)} if store else {}))
    env["PATH"] = f"{Path(command('pyrun')[0]).parent}:{env['PATH']}"
    result = run(["bash", "--norc", "-c", script, "bash", line], env=env, cwd=cwd)
    assert result.stderr == "", result
    return [word for word in result.stdout.splitlines() if word]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pyrun ps --no", ["--no-trunc"]),
        ("pyrun vol", ["volume"]),
        ("pyrun volume cr", ["create"]),
        ("pyrun volume -q p", ["prune"]),
        ("pyrun --rootfs i", ["inplace"]),
        ("pyrun run --rootfs=t", ["tmpfs"]),
        ("pyrun --network host vol", []),
        ("pyrun exec -it box --", []),
        ("pyrun oci --log x ex", ["exec"]),
        ("pyrun oci exec --no", ["--no-new-privs"]),
        ("pyrun-oci --debug li", ["list"]),
        ("pyrun-oci mounts a", ["add"]),
        ("pybuild cache im", ["import"]),
        ("pybuild --progress p", ["plain"]),
        ("pybuild rmi --f", ["--force"]),
        ("pybuild images --di", ["--digests"]),
        ("pybuild tag --di", []),
    ],
)
def test_bash_completes_words(line: str, words: list[str]) -> None:
    assert _completed(line) == words


def test_bash_completes_files_with_spaces_and_directories(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "another").mkdir()
    assert sorted(_completed("pybuild -f a", cwd=tmp_path)) == ["a file", "another"]
    assert _completed("pybuild --root a", cwd=tmp_path) == ["another"]


@pytest.fixture(scope="module")
def stocked(public_root: Path, busybox: Path) -> Path:
    """A store with an image, a container that does not run, and a volume."""
    store = public_root / "stocked"
    root = Caller("root", 0, 0, "/root")
    env = environment(root, PYBUILD_ROOT=str(store))
    asked: list[list[str | Path]] = [
        [*command("pybuild"), "load", "-q", "-t", "box:first", "-i", busybox],
        [*command("pyrun"), "volume", "create", "files"],
        [*command("pyrun"), "secret", "create", "word", "/etc/hostname"],
        [*command("pyrun"), "create", "--name", "sleeper", busybox, "true"],
    ]
    for argv in asked:
        result = run(argv, env=env)
        assert result.status == 0, result
    return store


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pyrun start s", ["sleeper"]),
        ("pyrun rm other s", ["sleeper"]),
        ("pyrun top sleeper s", []),
        ("pyrun cp sl", ["sleeper:"]),
        ("pyrun volume rm f", ["files"]),
        ("pyrun secret rm w", ["word"]),
        ("pyrun healthcheck run s", ["sleeper"]),
        ("pybuild rmi b", ["box:first"]),
        ("pybuild rmi box:f", ["first"]),
        ("pyrun run -it b", ["box:first"]),
        ("pyrun run --name x box:first b", []),
        ("pyrun run -v f", ["files"]),
    ],
)
def test_bash_completes_names_of_the_store(
    stocked: Path, tmp_path: Path, line: str, words: list[str]
) -> None:
    assert _completed(line, store=stocked, cwd=tmp_path) == words


@pytest.mark.needs_root
def test_bash_looks_into_the_store_that_the_line_names(stocked: Path, tmp_path: Path) -> None:
    for line in (f"pyrun rm --root {stocked} s", f"pyrun rm --root={stocked} s"):
        assert _completed(line, store=tmp_path) == ["sleeper"]


@pytest.mark.needs_root
@pytest.mark.needs_program("fish")
def test_fish_completes_names_of_the_store(stocked: Path) -> None:
    env = environment(None, PYBUILD_ROOT=str(stocked))
    env["PATH"] = f"{Path(command('pyrun')[0]).parent}:{env['PATH']}"
    for line, words in [
        ("pyrun start s", "sleeper"),
        ("pybuild rmi b", "box:first"),
        ("pyrun ps --no", "--no-trunc\tnothing is shortened"),
        ("pyrun --rootfs i", "inplace"),
    ]:
        script = f"source {FISH / line.split()[0]}.fish; complete -C '{line}'"
        result = run(["fish", "--no-config", "-c", script], env=env)
        assert result.stdout.splitlines()[0].startswith(words), result


@pytest.mark.needs_root
def test_a_terminal_gets_a_name_with_a_colon_right(stocked: Path) -> None:
    env = environment(None, PYBUILD_ROOT=str(stocked), TERM="dumb", PS1="", HISTFILE="/dev/null")
    env["PATH"] = f"{Path(command('pyrun')[0]).parent}:{env['PATH']}"
    env["INPUTRC"] = "/dev/null"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    ) as shell:
        os.close(theirs)
        # The beginning of the completed line becomes an echo of it (^A).
        script = f". '{BASH / 'pybuild'}'\npybuild rmi box:f\t\x01echo \"<$(printf x)>\" \nexit\n"
        os.write(ours, script.encode())
        said = b""
        try:
            while piece := os.read(ours, 4096):
                said += piece
        except OSError:  # the last one has closed the terminal
            pass
        shell.wait(60)
    os.close(ours)
    assert "<x> pybuild rmi box:first" in said.decode().replace("\r", "").splitlines()
