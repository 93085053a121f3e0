"""`ostler keys`: who may sign new versions, as a machine folder says and as a machine does."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.console import Console, table
from ostler.errors import ExitCode, NotFoundError, OstlerError

if TYPE_CHECKING:
    from ostler.store.signing.ed25519 import PublicKey
    from ostler.store.signing.keyfolder import KeyFolder, KnownKey

EPILOG = """\
examples:
  ostler keys make                  from now on `ostler publish` signs, and new images verify
  ostler keys rotate                a new key signs beside the old one
  ostler keys revoke 3mJr           ... which goes when every machine runs an image with the new one
  ostler keys export > web.pub      the public keys, for others
  sudo ostler keys trust KEY --host     on a machine: believe another key at once
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    parser = commands.add_parser(
        "keys",
        help="make, list, rotate and revoke the keys that sign new versions",
        description="The keys (ed25519) are in the folder `signing` of the machine folder: secret.ed25519 signs and "
        "must stay secret, trusted.ed25519 and revoked.ed25519 go into the image. With --host, those of this machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, help: str, description: str, *, changes: bool, host: bool = False, key: str = "") -> None:
        action = actions.add_parser(name, parents=[common], help=help, description=description)
        where = action.add_mutually_exclusive_group()
        where.add_argument(
            "-C", "--folder", type=Path, default=Path(), metavar="DIR", help="the machine folder (default: this folder)"
        )
        if host:
            where.add_argument("--host", action="store_true", help="the keys of this machine, in /etc/ostree")
        if key:
            action.add_argument("key", metavar="KEY", help=key)
        if changes:
            action.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        if name == "revoke":
            action.add_argument(
                "--force", action="store_true", help="also the only trusted key: machines then refuse every new version"
            )
        action.add_argument("--json", action="store_true", help="print as JSON")
        action.set_defaults(handler=_HANDLERS[name])

    add("make", "make the first signing key", "Makes a signing key. From then on `ostler publish` signs versions, and "
        "machines with images built from then on install nothing else.", changes=True)  # fmt: skip
    add("list", "list keys and what they are for", "Lists the keys: which sign, are trusted, are revoked.",
        changes=False, host=True)  # fmt: skip
    add("rotate", "make another signing key beside the present ones", "Makes a key that signs beside the present ones. "
        "Build and publish; when every machine runs the new version, revoke the old key.", changes=True)  # fmt: skip
    add("trust", "trust another public key", "Trusts a key that somebody else signs with.", changes=True, host=True,
        key="the public key, in base64")  # fmt: skip
    add("revoke", "trust a key no longer", "Distrusts a key for good. In a machine folder it also stops signing.",
        changes=True, host=True, key="the public key, or as much of its beginning as is unambiguous")  # fmt: skip
    add("export", "print the trusted public keys", "Prints the public keys that are trusted, one a line: a file for "
        "`ostree remote add --sign-verify=ed25519=file:…`.", changes=False)  # fmt: skip


def _folder(options: argparse.Namespace) -> "KeyFolder":
    from ostler.store.signing.keyfolder import KeyFolder
    from ostler.store.signing.places import USUAL

    if getattr(options, "host", False):
        return KeyFolder.of(USUAL.folders[0])
    if not (options.folder / "ostler.toml").is_file():
        raise NotFoundError(
            f"{options.folder / 'ostler.toml'} does not exist, so this is no machine folder",
            hint="name a machine folder with -C, or this machine's own keys with --host",
        )
    return KeyFolder.of(options.folder / "signing")


def make(options: argparse.Namespace, console: Console) -> int:
    """Make the first key."""
    before = _folder(options)
    _add_key(before.make(), before, options, console)
    if not options.dry_run:
        secret = before.path / "secret.ed25519"
        console.say(f"Keep a copy of {secret} in a safe place: without it no machine takes another version.")
        console.say("Next: ostler build && ostler publish")
    return ExitCode.OK


def rotate(options: argparse.Namespace, console: Console) -> int:
    """Make another key."""
    before = _folder(options)
    _add_key(before.rotate(), before, options, console)
    if not options.dry_run:
        console.say("Next: build and publish; when every machine runs that version, revoke the old key.")
    return ExitCode.OK


def _add_key(after: "KeyFolder", before: "KeyFolder", options: argparse.Namespace, console: Console) -> None:
    if not options.dry_run:
        _change(before, after, "made", options, console)
    elif options.json:  # the key does not exist yet
        console.out(json.dumps({"folder": str(after.path), "dry_run": True, "made": []}, indent=2))
    else:
        console.out(
            f"another key would be made in {after.path}" if before.secret else f"a key would be made in {after.path}"
        )


def trust(options: argparse.Namespace, console: Console) -> int:
    """Trust a key."""
    from ostler.store.signing.ed25519 import PublicKey

    before = _folder(options)
    _change(before, before.trust(PublicKey.parse(options.key)), "trusted", options, console)
    return ExitCode.OK


def revoke(options: argparse.Namespace, console: Console) -> int:
    """Revoke a key."""
    before = _folder(options)
    key = before.find(options.key, _image_keys() if options.host else ())
    # A machine has the keys of its image too, which /etc does not know of.
    after = before.revoke(key, last_too=options.force or options.host)
    _change(before, after, "revoked", options, console)
    return ExitCode.OK


def _change(before: "KeyFolder", after: "KeyFolder", verb: str, options: argparse.Namespace, console: Console) -> None:
    """Write the folder, unless it is a dry run, and say which key has changed."""
    if not options.dry_run:
        if getattr(options, "host", False) and os.geteuid() != 0:
            raise OstlerError(
                "`ostler keys --host` changes the machine and needs root",
                hint=f"run `sudo ostler keys {options.action}`",
            )
        after.write()
    old = set(before.known())
    changed = [one for one in after.known() if one not in old]
    if options.json:
        said = {"folder": str(after.path), "dry_run": options.dry_run, verb: [one.to_json() for one in changed]}
        console.out(json.dumps(said, indent=2))
        return
    for one in changed:
        console.out(f"{'would be ' if options.dry_run else ''}{verb}: {one.key}")


def show(options: argparse.Namespace, console: Console) -> int:
    """List keys."""
    folder = _folder(options)
    keys = folder.known()
    image = _image_keys() if options.host else ()
    if options.json:
        said = {"folder": str(folder.path), "keys": [one.to_json() for one in keys]}
        if options.host:
            said["image"] = [str(key) for key in image]
        console.out(json.dumps(said, indent=2))
        return ExitCode.OK
    rows = [(str(one.key), _state(one)) for one in keys]
    revoked = {one.key for one in keys if one.revoked}
    rows += [(str(key), "trusted by the image" + (", but revoked" if key in revoked else "")) for key in image]
    if rows:
        console.out(table(rows))
    else:
        console.say("there are no keys: nothing is signed, and nothing verified")
    return ExitCode.OK


def export(options: argparse.Namespace, console: Console) -> int:
    """Print the trusted keys."""
    keys = [str(key) for key in _folder(options).trusted]
    if not keys:
        raise NotFoundError(f"{options.folder} trusts no keys", hint="make one with `ostler keys make`")
    console.out(json.dumps(keys, indent=2) if options.json else "\n".join(keys))
    return ExitCode.OK


def _image_keys() -> "tuple[PublicKey, ...]":
    """What the image of this machine trusts."""
    from ostler.store.signing.ed25519 import trusted_by_system
    from ostler.store.signing.errors import KeyFormatError
    from ostler.store.signing.places import USUAL

    try:
        return trusted_by_system(USUAL.folders[1:])
    except KeyFormatError:
        return ()


def _state(one: "KnownKey") -> str:
    if one.revoked:
        return "revoked"
    if one.signs:
        return "signs" if one.trusted else "signs, but is not trusted"
    return "trusted"


_HANDLERS = {"make": make, "list": show, "rotate": rotate, "trust": trust, "revoke": revoke, "export": export}
