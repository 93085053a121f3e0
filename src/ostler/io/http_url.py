"""URLs of http and https: taking them apart, showing them, following redirects."""

from binascii import b2a_base64
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from ostler.io.http_errors import NetworkError


@dataclass(frozen=True, slots=True)
class Origin:
    """What a connection is good for: one scheme, host and port."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def redact(url: str) -> str:
    """The URL without user name and password, for messages."""
    try:
        parts = urlsplit(url)
    except ValueError:
        scheme, separator, rest = url.partition("://")
        return scheme + separator + rest.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def parse_url(url: str) -> tuple[Origin, SplitResult]:
    """Origin and parts of an http(s) URL; raises `NetworkError`."""
    try:
        url.encode()
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise NetworkError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NetworkError(f"{redact(url)!r} is not an http:// or https:// URL")
    return Origin(parts.scheme, parts.hostname, port or {"http": 80, "https": 443}[parts.scheme]), parts


def same_origin(url: str, other: str) -> bool:
    """Whether two URLs lead to one server."""
    return url is other or parse_url(url)[0] == parse_url(other)[0]


def basic(parts: SplitResult) -> str:
    """The credentials in a URL as value of the header `Authorization`."""
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return "Basic " + b2a_base64(credentials.encode(), newline=False).decode()


def redirected(url: str, location: str | None, shown: str) -> str:
    """The URL that an answer for `url` redirects to; raises `NetworkError` for one that is not to be followed."""
    if not location:
        raise NetworkError(f"{shown}: the server redirects to nowhere")
    try:
        target = urljoin(url, location)
        secure = urlsplit(target).scheme == "https"
    except ValueError as error:
        raise NetworkError(f"{shown}: the server redirects to {location!r}, which is not a URL: {error}") from error
    if urlsplit(url).scheme == "https" and not secure:
        raise NetworkError(f"{shown}: the server redirects from https to {redact(target)}, which is not followed")
    return target
