"""`ostree remote add-cookie`, `delete-cookie` and `list-cookies`."""

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure

YEARS = 25
"""How long a cookie is good for, as in libostree."""


def _add(call: Call) -> None:
    import time
    from calendar import timegm

    from ostler.io.cookies import Cookie
    from ostler.store.cookies import add_cookie

    if len(call.arguments) < 5:
        call.usage_error("NAME, DOMAIN, PATH, COOKIE_NAME and VALUE must be specified")
    remote, domain, path, name, value = call.arguments[:5]
    year, *rest = time.gmtime()[:6]
    expires = timegm((year + YEARS, *rest))
    add_cookie(call.repo, remote, Cookie(domain, domain.startswith("."), path, False, expires, name, value))


def _delete(call: Call) -> None:
    from ostler.store.cookies import delete_cookie

    if len(call.arguments) < 4:
        call.usage_error("NAME, DOMAIN, PATH and COOKIE_NAME must be specified")
    remote, domain, path, name = call.arguments[:4]
    if not delete_cookie(call.repo, remote, domain, path, name):
        raise Failure("Cookie not found in jar")


def _list(call: Call) -> None:
    import time

    from ostler.cli.ostree.remote import remote_name
    from ostler.store.cookies import list_cookies

    for cookie in list_cookies(call.repo, remote_name(call)):
        expires = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(cookie.expires))
        secure = "TRUE" if cookie.secure else "FALSE"
        call.out(f"--\nDomain: {cookie.domain}\nPath: {cookie.path}\nName: {cookie.name}\nSecure: {secure}")
        call.out(f"Expires: {expires}\nValue: {cookie.value}")


ADD = Verb(_add, "NAME DOMAIN PATH COOKIE_NAME VALUE")
DELETE = Verb(_delete, "NAME DOMAIN PATH COOKIE_NAME")
LIST = Verb(_list, "NAME")
