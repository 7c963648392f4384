"""The way in: what is shipped is read, else compiled once; the cache is not trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.oci.seccomp import Seccomp, SyscallRule
from runtime.sandbox.capabilities import ALL, BUILD_DEFAULT, RUN_DEFAULT
from runtime.seccomp import compile as compiling
from runtime.seccomp import load
from runtime.seccomp.compile import compile_filter
from runtime.seccomp.numbers import libseccomp_version
from runtime.seccomp.profile import default_profile
from tests.support import CHECKOUT, environment, run

PROFILE = Seccomp(
    default_action="SCMP_ACT_ALLOW",
    syscalls=(SyscallRule(names=("getppid",), action="SCMP_ACT_ERRNO"),),
)
SHIPPED = os.uname().machine in load.MACHINES


def _no_compiling(*_: object, **__: object) -> bytes:
    raise AssertionError("compiled")


@pytest.mark.skipif(not SHIPPED, reason="no filter for this machine")
@pytest.mark.parametrize("capabilities", [RUN_DEFAULT, BUILD_DEFAULT, frozenset[str]()])
def test_the_usual_capabilities_have_a_filter_in_the_package(
    capabilities: frozenset[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = compile_filter(default_profile(capabilities))
    monkeypatch.setattr(compiling, "compile_filter", _no_compiling)
    assert load.filter_for(None, capabilities, cache=None) == expected


@pytest.mark.parametrize("added", ["SYS_ADMIN", "SYS_TIME", "BPF"])
def test_other_capabilities_get_the_default_profile_resolved_for_them(
    added: str, tmp_path: Path
) -> None:
    capabilities = RUN_DEFAULT | {added}
    expected = compile_filter(default_profile(capabilities))
    assert load.filter_for(None, capabilities, cache=str(tmp_path)) == expected


@pytest.mark.skipif(not SHIPPED, reason="no filter for this machine")
def test_a_capability_that_no_condition_asks_about_changes_nothing() -> None:
    added = RUN_DEFAULT | (ALL - load.CONDITIONS)
    filters = {load.filter_for(None, c, cache=None) for c in (RUN_DEFAULT, added)}
    assert len(filters) == 1


def test_a_filter_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load.filter_for(PROFILE, RUN_DEFAULT, cache=str(tmp_path / "new" / "cache"))
    monkeypatch.setattr(compiling, "compile_filter", _no_compiling)
    again = load.filter_for(PROFILE, ALL, cache=str(tmp_path / "new" / "cache"))
    assert again == first == compile_filter(PROFILE)


def test_another_profile_is_another_file(tmp_path: Path) -> None:
    other = PROFILE.replace(default_action="SCMP_ACT_LOG")
    for profile in (PROFILE, other, PROFILE):
        found = load.filter_for(profile, RUN_DEFAULT, cache=str(tmp_path))
        assert found == compile_filter(profile)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("what", ["version", "format"])
def test_another_library_or_format_is_another_file(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load.filter_for(PROFILE, RUN_DEFAULT, cache=str(tmp_path))
    if what == "version":
        monkeypatch.setattr("runtime.seccomp.load.library_version", lambda machine: "9.9.9")
    else:
        monkeypatch.setattr(load, "_FORMAT", 99)
    load.filter_for(PROFILE, RUN_DEFAULT, cache=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def _cached(tmp: Path) -> Path:
    load.filter_for(PROFILE, RUN_DEFAULT, cache=str(tmp))
    (path,) = tmp.iterdir()
    return path


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "empty", "header", "directory", "fifo"]
)
def test_a_damaged_file_is_compiled_anew(damage: str, tmp_path: Path) -> None:
    path = _cached(tmp_path)
    whole = path.read_bytes()
    path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage == "fifo":
        os.mkfifo(path)
    else:
        content = {
            "truncated": whole[:-8],
            "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
            "empty": b"",
            "header": whole[:32],
        }[damage]
        path.write_bytes(content)
    assert load.filter_for(PROFILE, RUN_DEFAULT, cache=str(tmp_path)) == compile_filter(PROFILE)
    if damage != "directory":  # which cannot be replaced, and does no harm
        assert path.read_bytes() == whole
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("how", ["group", "others", "owner", "symlink"])
def test_a_file_that_somebody_else_could_have_written_is_not_used(
    how: str, tmp_path: Path
) -> None:
    path = _cached(tmp_path)
    evil = load.filter_for(
        Seccomp(default_action="SCMP_ACT_ALLOW"), RUN_DEFAULT, cache=str(tmp_path / "evil")
    )
    (written,) = (tmp_path / "evil").iterdir()
    path.write_bytes(written.read_bytes())
    assert load.filter_for(PROFILE, RUN_DEFAULT, cache=str(tmp_path)) == evil, "it would be used"
    if how == "owner":
        if os.geteuid() != 0:
            pytest.skip("not root, who can give files away")
        os.chown(path, 54321, 54321)
    elif how == "symlink":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.chmod({"group": 0o620, "others": 0o602}[how])
    assert load.filter_for(PROFILE, RUN_DEFAULT, cache=str(tmp_path)) == compile_filter(PROFILE)


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = str(tmp_path / "file" / "below")
    assert load.filter_for(PROFILE, RUN_DEFAULT, cache=cache) == compile_filter(PROFILE)


@pytest.mark.skipif(not SHIPPED, reason="no filter for this machine")
def test_a_start_with_the_default_profile_imports_next_to_nothing() -> None:
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from runtime.seccomp.load import filter_for, filter_installer\n"
        "install = filter_installer(filter_for(None, frozenset({'CHOWN'}), cache='/nowhere'))\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = [{str(CHECKOUT)!r}]\n" + script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(result.stdout.split()) == set(
        "__future__ _ctypes runtime runtime.errors runtime.seccomp runtime.seccomp.load".split()
    )


def test_the_name_of_the_librarys_file_says_its_version() -> None:
    assert load.library_version(os.uname().machine).endswith(libseccomp_version())


def test_a_cached_filter_is_found_without_the_library(tmp_path: Path) -> None:
    load.filter_for(PROFILE, RUN_DEFAULT, cache=str(tmp_path))
    code = f"""
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
from runtime.oci.seccomp import Seccomp, SyscallRule
from runtime.seccomp import load
rule = SyscallRule(names=("getppid",), action="SCMP_ACT_ERRNO")
profile = Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=(rule,))
for name in ("ctypes", "hashlib", "_hashlib", "runtime.seccomp.compile"):
    sys.modules[name] = None
assert load.filter_for(profile, frozenset(), cache={str(tmp_path)!r})
"""
    result = run([sys.executable, "-c", code], env=environment())
    assert result.status == 0, result.stderr
