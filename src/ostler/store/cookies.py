"""The cookies that go with requests to a remote: the file `REMOTE.cookies.txt` of the repository."""

from collections.abc import Callable
from pathlib import Path

from ostler.formats.refs import validate_remote
from ostler.io.cookies import MAX_COOKIES, Cookie, parse_cookies
from ostler.io.files import atomic_write
from ostler.store.errors import StoreError
from ostler.store.repo import Repo


def cookie_file(repo: Repo, remote: str) -> Path:
    """Where the cookies for a remote are or would be."""
    return repo.path / f"{validate_remote(remote)}.cookies.txt"


def list_cookies(repo: Repo, remote: str) -> tuple[Cookie, ...]:
    """The cookies for a remote; none if nobody added any."""
    return parse_cookies(_read(cookie_file(repo, remote)))


def add_cookie(repo: Repo, remote: str, cookie: Cookie) -> None:
    """Send this cookie too; raises `StoreError` if it cannot be written down."""
    fields = (
        cookie.domain,
        _truth(cookie.subdomains),
        cookie.path,
        _truth(cookie.secure),
        str(cookie.expires),
        cookie.name,
        cookie.value,
    )
    if any(c in field for field in fields for c in "\t\r\n\0") or not cookie.domain or not cookie.name:
        raise StoreError("a cookie needs a domain and a name, and cannot contain tabs or line breaks")
    line = "\t".join(fields)
    _change(cookie_file(repo, remote), lambda text: f"{text}{line}\n")


def delete_cookie(repo: Repo, remote: str, domain: str, path: str, name: str) -> bool:
    """Forget a cookie; returns whether there was one."""
    found = False

    def without(text: str) -> str:
        nonlocal found
        kept = []
        for line in text.splitlines(keepends=True):
            cookies = parse_cookies(line)
            if cookies and (cookies[0].domain, cookies[0].path, cookies[0].name) == (domain, path, name):
                found = True
            else:
                kept.append(line)
        return "".join(kept)

    _change(cookie_file(repo, remote), without)
    return found


def _change(path: Path, change: Callable[[str], str]) -> None:
    before = _read(path)
    if before and not before.endswith("\n"):
        before += "\n"
    after = change(before)
    if after != before:
        atomic_write(path, after.encode("utf-8", "surrogateescape"), mode=0o600)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_COOKIES).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def _truth(value: bool) -> str:
    return "TRUE" if value else "FALSE"
