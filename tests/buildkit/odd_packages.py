"""Packages that each have one thing that most have not; built by rpmbuild, unsigned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import run

_HEAD = """\
Name: odd
Version: 1
Release: 1
Summary: A test
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
A test.
%install
mkdir -p %{buildroot}/usr/lib/rpm %{buildroot}/etc %{buildroot}/srv
cd %{buildroot}
echo '%%_dbpath %%{_var}/lib/rpm' > usr/lib/rpm/macros
echo big:x:100000:100000::/:/bin/sh > etc/passwd
echo big:x:100000: > etc/group
touch srv/file etc/group-
"""
_PACKAGE = """
%package -n {name}
Summary: A test
{tags}
%description -n {name}
A test.
{rest}
%files -n {name}
{files}
"""
# Scriptlets are in Lua, which rpm has itself: they need no shell, and no other package.
_FAILS = '-p <lua>\nerror("on purpose")\n'
_PACKAGES: dict[str, tuple[str, str, str]] = {
    # name: tags, scriptlets, files
    "with-macros": ("", "", "/usr/lib/rpm/macros"),
    "with-future": ("Requires: rpmlib(FutureFeature) = 99", "", ""),
    "with-users": (
        "Provides: user(foo)\nProvides: group(foo)",
        "",
        "%attr(-,foo,foo) /srv/file",
    ),
    "with-users-made": (
        "Provides: user(bar)\nProvides: group(bar)",
        "%pre -n with-users-made -p <lua>\n-- a shell would call useradd bar\n",
        "",
    ),
    "with-owner": ("", "", "%attr(-,nobody-here,none-here) /srv/file"),
    "with-accounts": ("", "", "/etc/passwd\n/etc/group"),
    "with-leftover": ("", "", "/etc/group-"),
    "with-big-id": ("Requires(pre): with-accounts", "", "%attr(-,big,big) /srv/file"),
    **{
        f"fails-in-{kind}": ("", f"%{kind} -n fails-in-{kind} {_FAILS}", "")
        for kind in ("pretrans", "pre", "post", "posttrans")
    },
    "fails-in-triggerin": (
        "",
        '%triggerin -n fails-in-triggerin -p <lua> -- with-macros\nerror("on purpose")\n',
        "",
    ),
    "writes-environment": (
        "",
        "%post -n writes-environment -p <lua>\n"
        'local file = io.open("/srv/environment", "w")\n'
        "for name, value in pairs(posix.getenv()) do\n"
        '  file:write(name .. "=" .. value .. "\\n")\n'
        "end\nfile:close()\n",
        "/srv",
    ),
}


@pytest.fixture(scope="session")
def odd_packages(public_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all of them, as NAME-1-1.noarch.rpm; anybody may read it."""
    work = tmp_path_factory.mktemp("odd")
    packages = (
        _PACKAGE.format(name=name, tags=tags, rest=rest, files=files)
        for name, (tags, rest, files) in _PACKAGES.items()
    )
    (work / "odd.spec").write_text(_HEAD + "".join(packages))
    target = public_root / "odd"
    how = ["--define", f"_topdir {work}", "--define", f"_rpmdir {target}"]
    how += ["--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"]
    how += ["--define", "_build_id_links none", "--define", "_buildhost localhost"]
    made = run(["rpmbuild", "-bb", *how, work / "odd.spec"], timeout_s=60)
    assert made.status == 0, made.stderr
    return target
