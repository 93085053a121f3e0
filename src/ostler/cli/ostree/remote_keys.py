"""`ostree remote gpg-import` and `gpg-list-keys`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import flag, many
from ostler.cli.ostree.places import places

if TYPE_CHECKING:
    from ostler.store.repo import Repo


def _import(call: Call) -> None:
    from ostler.cli.ostree.remote import remote_name

    name = remote_name(call)
    if call.flag("stdin"):
        if call.many("keyring"):
            call.usage_error("--keyring and --stdin are mutually exclusive")
        sources = [sys.stdin.buffer.read()]
    else:
        sources = [Path(path).read_bytes() for path in call.many("keyring")]
    import_into(call, call.repo, name, sources, call.arguments[1:])


def import_into(call: Call, repo: "Repo", remote: str, sources: list[bytes], key_ids: list[str]) -> None:
    """Trust the keys in `sources` (none: in GPG's own keyring) that have one of the ids, or without ids all of them."""
    from ostler.cli.ostree.signatures import gpg_home
    from ostler.store.signing.keyrings import import_keys

    count = import_keys(repo, remote, sources or None, key_ids, gpg_home(call))
    call.out(f'Imported {count} GPG key{"" if count == 1 else "s"} to remote "{remote}"')


def _list(call: Call) -> None:
    from ostler.store.signing.keyrings import list_keys

    for key in list_keys(call.repo, call.arguments[0] if call.arguments else None, places()):
        call.out(key.describe(), end="")


IMPORT = Verb(
    _import,
    "NAME [KEY-ID...]",
    (
        many("keyring", "FILE", "Import keys from this file (may be given several times)", "k"),
        flag("stdin", "Import keys from standard input"),
    ),
)
LIST = Verb(_list, "NAME")
