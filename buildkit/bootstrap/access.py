"""How a server of packages is spoken to: credentials, certificates, proxies (dnf.conf(5))."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from runtime.record import Record

_OFF = ("0", "no", "false", "off")


class Access(Record):
    """What the options of a repository say about its connections; paths are this machine's."""

    username: str = ""
    password: str = ""
    proxy: str = ""  # empty: what the environment says; "_none_": none
    proxy_username: str = ""
    proxy_password: str = ""
    sslcacert: str = ""
    sslclientcert: str = ""
    sslclientkey: str = ""
    sslverify: bool = True

    def __repr__(self) -> str:
        return "Access(…)"  # its passwords are for nobody's eyes

    @property
    def is_private(self) -> bool:
        """Whether somebody has to say who they are."""
        return bool(self.username or self.sslclientcert or self.proxy_username)

    def arguments(self) -> dict[str, Any]:
        """As `requests` takes them."""
        found: dict[str, Any] = {}
        if not self.sslverify:
            found["verify"] = False
        elif self.sslcacert:
            found["verify"] = self.sslcacert
        if self.username:
            found["auth"] = (self.username, self.password)
        if self.sslclientcert:
            key = self.sslclientkey
            found["cert"] = (self.sslclientcert, key) if key else self.sslclientcert
        if self.proxy:
            proxy = "" if self.proxy == "_none_" else self._full_proxy()
            found["proxies"] = {"http": proxy, "https": proxy}
        return found

    def _full_proxy(self) -> str:
        if not self.proxy_username:
            return self.proxy
        from urllib.parse import quote

        scheme, separator, rest = self.proxy.rpartition("://")
        user, password = quote(self.proxy_username, ""), quote(self.proxy_password, "")
        return f"{scheme or 'http'}{separator or '://'}{user}:{password}@{rest}"


def access_of(options: Mapping[str, str]) -> Access:
    """What a repository's options say; a CA bundle of the environment is the default."""
    names = [name for name in Access._fields if name != "sslverify"]
    values = {name: options.get(name, "") for name in names}
    values["sslcacert"] = values["sslcacert"] or default_ca()
    verify = options.get("sslverify", "1").strip().lower() not in _OFF
    return Access(**values, sslverify=verify)


def default_ca() -> str:
    """The file of certificates that this machine's user says is to be trusted; empty for none."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if path := os.environ.get(name, ""):
            return path
    return ""
