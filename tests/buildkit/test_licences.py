"""Licences of packages as SPDX expressions."""

from __future__ import annotations

import pytest

from buildkit.packages.dpkg_copyright import read_licences
from buildkit.sbom.licences import References


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", "MIT"),
        ("apache-2.0", "Apache-2.0"),
        ("GPL-2.0-or-later AND MIT", "GPL-2.0-or-later AND MIT"),
        ("(MIT OR GPL-2.0+) AND Zlib", "(MIT OR GPL-2.0+) AND Zlib"),
        (
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "GPL-2.0-only WITH Classpath-exception-2.0",
        ),
        ("Apache-2.0+", "Apache-2.0+"),
    ],
)
def test_an_expression_of_spdx_stays_as_it_is(text: str, expression: str) -> None:
    found = References().expression((text,), debian=False)
    assert (found.text, found.is_listed) == (expression, True)


@pytest.mark.parametrize(
    ("text", "expression", "names"),
    [
        ("GPLv2+", "LicenseRef-GPLv2-plus", ["GPLv2+"]),
        ("MIT and Public Domain", "MIT AND LicenseRef-Public-Domain", ["Public Domain"]),
        (
            "(GPLv2+ or MIT) and ASL 2.0",
            "(LicenseRef-GPLv2-plus OR MIT) AND LicenseRef-ASL-2.0",
            ["GPLv2+", "ASL 2.0"],
        ),
        ("BSD with advertising", "LicenseRef-BSD-with-advertising", ["BSD with advertising"]),
        (
            "MIT WITH nothing-known",
            "LicenseRef-MIT-WITH-nothing-known",
            ["MIT WITH nothing-known"],
        ),
        ("MIT AND", "LicenseRef-MIT-AND", ["MIT AND"]),
        ("MIT) OR (GPLv3", "LicenseRef-MIT-OR-GPLv3", ["MIT) OR (GPLv3"]),
        ("or", "LicenseRef-or", ["or"]),
        ("()", "LicenseRef-unnamed", ["()"]),
        ("Sandor", "LicenseRef-Sandor", ["Sandor"]),
        ("LicenseRef-Fedora-Logo", "LicenseRef-Fedora-Logo", ["LicenseRef-Fedora-Logo"]),
        ("GPL-2+", "LicenseRef-GPL-2-plus", ["GPL-2+"]),
    ],
)
def test_what_spdx_does_not_know_becomes_a_reference_that_keeps_its_name(
    text: str, expression: str, names: list[str]
) -> None:
    references = References()
    found = references.expression((text,), debian=False)
    assert (found.text, found.is_listed) == (expression, False)
    assert list(references.names.values()) == names


def test_two_names_never_share_a_reference() -> None:
    references = References()
    texts = [references.expression((n,), debian=False).text for n in ("A B", "A-B", "A B")]
    assert texts[0] == texts[2] == "LicenseRef-A-B"
    assert texts[1] != texts[0]
    assert sorted(references.names.values()) == ["A B", "A-B"]


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-3", "GPL-3.0-only"),
        ("LGPL-2.1+ or Expat", "LGPL-2.1-or-later OR MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("public-domain", "LicenseRef-public-domain"),
        ("GPL-9", "LicenseRef-GPL-9"),
    ],
)
def test_debians_short_names_that_mean_one_thing_are_translated(
    text: str, expression: str
) -> None:
    assert References().expression((text,), debian=True).text == expression


def test_several_licences_all_apply() -> None:
    found = References().expression(("Expat", "GPL-2+ or Artistic"), debian=True)
    assert found.text == "MIT AND (GPL-2.0-or-later OR Artistic-1.0)"
    assert References().expression((), debian=True).text == "NOASSERTION"


def test_an_endless_expression_is_one_name() -> None:
    found = References().expression(("(" * 3000 + "MIT" + ")" * 3000,), debian=False)
    assert found.text == "LicenseRef-MIT"
    deep = References().expression(("(" * 2000 + "MIT" + ")" * 2000,), debian=False)
    assert deep.is_listed


DEP_5 = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: thing
License: MPL-2.0

Files: *
Copyright: 2020 Somebody
License: GPL-2+ or Artistic
 The text of it.
 .
 More of it.

Files: debian/*
Copyright: Somebody else
License: Expat

License: Expat
 Permission is hereby granted
"""


def test_the_licences_of_a_machine_readable_copyright_file_are_those_of_its_files() -> None:
    assert read_licences(DEP_5.encode()) == ("Expat", "GPL-2+ or Artistic", "MPL-2.0")


@pytest.mark.parametrize(
    "text",
    [
        "This is prose.\nLicense: GPL-2\n",
        "",
        "Format: of another kind\n\nFiles: *\nLicense: GPL-2\n",
        DEP_5 + "\nhere it ends being a field\n",
    ],
)
def test_a_copyright_file_in_prose_asserts_nothing(text: str) -> None:
    assert read_licences(text.encode()) == ()
