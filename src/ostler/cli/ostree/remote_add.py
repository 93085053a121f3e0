"""`ostree remote add`."""

from pathlib import Path

from ostler.cli.ostree.call import Call, Use, Verb
from ostler.cli.ostree.options import REPO, Failure, flag, many, text
from ostler.cli.ostree.remote import SYSROOT, configured_repo, sysroot


def run(call: Call) -> None:
    """Add a remote."""
    from ostler.store.remotes import add_remote

    repo = configured_repo(call)
    name, url, branches = _what(call)
    if call.flag("if-not-exists") and call.flag("force"):
        call.usage_error("Can only specify one of --if-not-exists and --force")
    options = _options(call, branches)
    add_remote(
        repo,
        name,
        url,
        options,
        if_not_exists=call.flag("if-not-exists"),
        force=call.flag("force"),
        sysroot=sysroot(call),
    )
    keys = call.text("gpg-import")
    if keys is not None:
        from ostler.cli.ostree.remote_keys import import_into

        import_into(call, repo, name, [Path(keys).read_bytes()], [])


def _what(call: Call) -> tuple[str, str | None, list[str]]:
    """(name, URL, branches)."""
    words = call.arguments
    if call.text("custom-backend") is None and len(words) < 2:
        call.usage_error("NAME and URL must be specified")
    if not words:
        call.usage_error("NAME must be specified")
    return words[0], words[1] if len(words) > 1 else None, words[2:]


def _options(call: Call, branches: list[str]) -> dict[str, str]:
    """The keys of the remote besides its URL."""
    options: dict[str, str] = {}
    if branches:
        options["branches"] = "".join(f"{branch};" for branch in branches)
    for key in ("contenturl", "custom-backend"):
        value = call.text(key)
        if value is not None:
            options[key] = value
    for written in call.many("set"):
        key, equals, value = written.partition("=")
        if not equals:
            raise Failure("Missing '=' in KEY=VALUE for --set")
        options[key] = value
    if call.flag("no-gpg-verify") or call.flag("no-sign-verify"):
        options["gpg-verify"] = "false"
    if call.flag("no-sign-verify"):
        if call.many("sign-verify"):
            raise Failure("Cannot specify both --sign-verify and --no-sign-verify")
        options["sign-verify"] = "false"
    options |= _trusted(call.many("sign-verify"))
    collection = call.text("collection-id")
    if collection is not None:
        options["collection-id"] = collection
    return options


def _trusted(written: list[str]) -> dict[str, str]:
    """The keys for `--sign-verify=TYPE=inline:KEY` and `--sign-verify=TYPE=file:PATH`."""
    from ostler.store.signing.kinds import check_kind

    options, kinds = {}, []
    for word in written:
        kind, equals, rest = word.partition("=")
        if not equals:
            raise Failure(f"Failed to parse KEYTYPE=[inline|file]:DATA in {word}")
        check_kind(kind)
        where, colon, key = rest.partition(":")
        if where not in ("inline", "file") or not colon:
            raise Failure(f"Invalid key reference {where}, expected inline|file")
        options[f"verification-{kind}-{'key' if where == 'inline' else 'file'}"] = key
        kinds.append(kind)
    if kinds:
        options["sign-verify"] = ",".join(kinds)
    return options


VERB = Verb(
    run,
    "NAME [metalink=|mirrorlist=]URL [BRANCH...]",
    (
        many("set", "KEY=VALUE", "Set another key of the remote's configuration"),
        flag("no-gpg-verify", "Do not demand GPG signatures"),
        flag("no-sign-verify", "Do not demand signatures of any type"),
        many("sign-verify", "KEYTYPE=[inline|file]:PUBKEY", "Demand signatures by this key"),
        flag("if-not-exists", "Do nothing if there is such a remote"),
        flag("force", "Replace the remote if there is one"),
        text("gpg-import", "FILE", "Trust the GPG keys in FILE for the remote"),
        text("custom-backend", "NAME", "What fetches from this remote is another program"),
        text("contenturl", "URL", "Fetch objects from URL"),
        text("collection-id", "COLLECTION-ID", "The collection that the remote's refs belong to"),
        REPO,
        SYSROOT,
    ),
    Use.NONE,
)
