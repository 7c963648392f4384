"""Package URLs (https://github.com/package-url/purl-spec, types rpm and deb)."""

from __future__ import annotations

from urllib.parse import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def package_url(
    kind: str, namespace: str, name: str, version: str, qualifiers: Mapping[str, str]
) -> str:
    """The URL of a package; qualifiers without a value are left out, the others sorted."""
    parts = [kind, *filter(None, namespace.lower().split("/")), name]
    url = "pkg:" + "/".join(_encoded(part) for part in parts) + f"@{_encoded(version)}"
    given = sorted((key, value) for key, value in qualifiers.items() if value)
    return "?".join(filter(None, (url, "&".join(f"{key}={_encoded(v)}" for key, v in given))))


def _encoded(text: str) -> str:
    # "A colon is not encoded, whether used as a separator or otherwise."
    return quote(text, safe=":")
