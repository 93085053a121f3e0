"""`ostree remote`: the remotes of a repository, and what they publish."""

from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Group, Use, Verb
from ostler.cli.ostree.options import REPO, flag, text

if TYPE_CHECKING:
    from ostler.store.pull_options import PullOptions
    from ostler.store.repo import Repo

SYSROOT = text("sysroot", "PATH", "Use the system below PATH, in place of a repository")
CACHE_DIR = text("cache-dir", "DIR", "Keep what is cached in this folder")


def remote_name(call: Call) -> str:
    """The argument that most of these verbs begin with."""
    if not call.arguments:
        call.usage_error("NAME must be specified")
    return call.arguments[0]


def _delete(call: Call) -> None:
    from ostler.store.remotes import delete_remote

    name = remote_name(call)
    delete_remote(configured_repo(call), name, if_exists=call.flag("if-exists"))


def _show_url(call: Call) -> None:
    from ostler.store.remotes import remote_url

    call.out(remote_url(call.repo, remote_name(call)))


def _list(call: Call) -> None:
    from ostler.store.remotes import list_remotes, remote_url

    names = sorted(list_remotes(call.repo))
    if not call.flag("show-urls"):
        for name in names:
            call.out(name)
        return
    width = max(map(len, names), default=0)
    for name in names:
        call.out(f"{name:<{width}}  {remote_url(call.repo, name)}")


def _refs(call: Call) -> None:
    from ostler.store.pull import remote_refs

    name = remote_name(call)
    for ref in sorted(remote_refs(call.repo, name, options=_options(call))):
        call.out(f"{name}:{ref}")


def _summary(call: Call) -> None:
    from ostler.cli.ostree.dump import print_summary
    from ostler.cli.ostree.options import Failure
    from ostler.store.pull import remote_summary

    name = remote_name(call)
    data, signatures = remote_summary(call.repo, name, options=_options(call))
    if data is None:
        raise Failure("Remote server has no summary file")
    print_summary(call, data, raw=call.flag("raw"))
    if signatures is not None and not call.flag("raw"):
        from ostler.cli.ostree.signatures import print_summary_signatures

        print_summary_signatures(call, name, data, signatures)


def sysroot(call: Call) -> Path | None:
    """The value of `--sysroot`."""
    value = call.text("sysroot")
    return None if value is None else Path(value)


def configured_repo(call: Call) -> "Repo":
    """The repository whose remotes are changed: that of `--sysroot`, or the usual one."""
    from ostler.cli.ostree.repository import open_path

    root = sysroot(call)
    return call.repo if root is None else open_path(root / "ostree/repo")


def _options(call: Call) -> "PullOptions":
    from ostler.cli.ostree.connecting import connecting_options
    from ostler.store.remotes import remote_url

    remote_url(call.repo, call.arguments[0])  # raises the usual error if there is none
    return connecting_options(call, call.arguments[0])


DELETE = Verb(_delete, "NAME", (flag("if-exists", "Do nothing if there is no such remote"), REPO, SYSROOT), Use.NONE)
SHOW_URL = Verb(_show_url, "NAME")
LIST = Verb(_list, "", (flag("show-urls", "Print the URL of each too", "u"),))
REFS = Verb(_refs, "NAME", (CACHE_DIR,))
SUMMARY = Verb(_summary, "NAME", (CACHE_DIR, flag("raw", "Print the values as they are stored")))

GROUP = Group(
    {
        "add": ("Add a remote", "remote_add", "VERB"),
        "delete": ("Remove a remote and its keys", "remote", "DELETE"),
        "show-url": ("Print the URL of a remote", "remote", "SHOW_URL"),
        "list": ("List the names of the remotes", "remote", "LIST"),
        "gpg-import": ("Trust GPG keys for a remote", "remote_keys", "IMPORT"),
        "gpg-list-keys": ("List the GPG keys that are trusted for a remote", "remote_keys", "LIST"),
        "add-cookie": ("Send a cookie with requests to a remote", "remote_cookies", "ADD"),
        "delete-cookie": ("Send a cookie no more", "remote_cookies", "DELETE"),
        "list-cookies": ("List the cookies that are sent to a remote", "remote_cookies", "LIST"),
        "refs": ("List the refs of a remote", "remote", "REFS"),
        "summary": ("Print the summary of a remote", "remote", "SUMMARY"),
    }
)
