"""Cookie files in Netscape's format, as browsers, curl and `ostree remote add-cookie` write them.

One cookie a line, seven fields separated by tabs: domain, whether subdomains too, path, https only, time of expiry in
seconds since 1970 (0: never), name, value. `#HttpOnly_` before a domain means nothing here; other `#` lines are
comments.
"""

import time
from dataclasses import dataclass

MAX_COOKIES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie; `expires` is in seconds since 1970 (0: never)."""

    domain: str
    subdomains: bool
    path: str
    secure: bool
    expires: int
    name: str
    value: str

    def matches(self, host: str, path: str, *, secure: bool) -> bool:
        """Whether it goes with a request."""
        domain = self.domain.lstrip(".").lower()
        host = host.lower()
        if host != domain and not (self.subdomains and host.endswith("." + domain)):
            return False
        if self.secure and not secure:
            return False
        below = path == self.path or path.startswith(self.path.rstrip("/") + "/")
        return below and not 0 < self.expires <= time.time()


def parse_cookies(text: str) -> tuple[Cookie, ...]:
    """The cookies of a file; lines that are none are passed over, as every reader of this format does."""
    found = []
    for line in text.splitlines():
        fields = line.removeprefix("#HttpOnly_").split("\t")
        if len(fields) != 7 or fields[0].startswith("#"):
            continue
        domain, subdomains, path, secure, expires, name, value = fields
        if not (expires.isascii() and expires.isdigit()) or any(c in name + value for c in "\r\n\0;"):
            continue
        found.append(Cookie(domain, subdomains == "TRUE", path, secure == "TRUE", int(expires), name, value))
    return tuple(found)


def cookie_header(cookies: tuple[Cookie, ...], host: str, path: str, *, secure: bool) -> str | None:
    """The value of the header `Cookie` for a request; None if no cookie goes with it."""
    pairs = [f"{c.name}={c.value}" for c in cookies if c.matches(host, path, secure=secure)]
    return "; ".join(pairs) or None
