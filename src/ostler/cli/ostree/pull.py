"""`ostree pull`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag, many, number, text
from ostler.cli.ostree.revisions import resolve, whole_checksum
from ostler.cli.ostree.transfers import print_dry_run, print_status, reporter

if TYPE_CHECKING:
    from ostler.formats.objects import Checksum
    from ostler.store.pull_options import PullOptions

COMMIT_ONLY = flag("commit-metadata-only", "Fetch commits without what they contain")
DISABLE_FSYNC = flag("disable-fsync", "Write without waiting for the disk")
PER_OBJECT_FSYNC = flag("per-object-fsync", "Wait for the disk after each object, so that others wait less")
REQUIRE_DELTAS = flag("require-static-deltas", "Fail unless there are static deltas")
BAREUSERONLY_FILES = flag("bareuseronly-files", "Refuse files with modes that bare-user-only cannot hold")
UNTRUSTED = flag("untrusted", "Verify what comes from repositories on this machine (others always are)")
NO_BINDINGS = flag("disable-verify-bindings", "Accept commits under refs that they do not name")
DEPTH = number("depth", "DEPTH", "How many parents of each commit to fetch (-1: all; default: 0)")


def run(call: Call) -> None:
    """Fetch refs from a remote."""
    from ostler.store.pull import pull

    if not call.arguments:
        call.usage_error("REMOTE must be specified")
    remote, refs, overrides = _what(call.arguments)
    options = _options(call, remote, overrides)
    result = pull(call.repo, remote, refs, options=options, report=reporter())
    (print_dry_run if options.dry_run else print_status)(call, result.statistics)


def _what(arguments: list[str]) -> "tuple[str, list[str], dict[str, Checksum]]":
    """(remote, refs, commit of each ref that was written REF@COMMIT) of `REMOTE [REF...]` or `REMOTE:REF`."""
    from ostler.formats.refs import split_refspec

    remote, *words = arguments
    if ":" in remote:
        name, ref = split_refspec(remote)
        return name or "", [ref], {}
    refs, overrides = [], {}
    for word in words:
        ref, at, commit = word.rpartition("@")
        refs.append(ref if at else word)
        if at:
            overrides[ref] = whole_checksum(commit)
    return remote, refs, overrides


def _options(call: Call, remote: str, overrides: "dict[str, Checksum]") -> "PullOptions":
    from dataclasses import replace

    from ostler.cli.ostree.connecting import connecting_options
    from ostler.cli.ostree.repository import open_path
    from ostler.store.pull_options import RETRIES, UseDeltas

    if call.flag("dry-run") and not call.flag("require-static-deltas"):
        raise Failure("--dry-run requires --require-static-deltas")
    deltas = UseDeltas.NEVER if call.flag("disable-static-deltas") else UseDeltas.USE
    retries, since = call.number("network-retries"), call.text("timestamp-check-from-rev")
    common = connecting_options(call, remote)
    return replace(
        common,
        mirror=call.flag("mirror"),
        depth=call.number("depth") or 0,
        subpaths=tuple(call.many("subpath")),
        commit_metadata_only=call.flag("commit-metadata-only"),
        static_deltas=UseDeltas.REQUIRE if call.flag("require-static-deltas") else deltas,
        dry_run=call.flag("dry-run"),
        override_url=call.text("url"),
        override_commits=overrides,
        timestamp_check=call.flag("timestamp-check"),
        timestamp_check_from=None if since is None else resolve(call.repo, since),
        verify_bindings=not call.flag("disable-verify-bindings"),
        bareuseronly_files=call.flag("bareuseronly-files"),
        untrusted=call.flag("untrusted"),
        http_trusted=call.flag("http-trusted") and not call.flag("untrusted"),
        disable_fsync=call.flag("disable-fsync"),
        per_object_fsync=call.flag("per-object-fsync"),
        http_headers=dict(map(_header, call.many("http-header"))),
        append_user_agent=call.text("append-user-agent"),
        network_retries=RETRIES if retries is None or retries < 0 else retries,
        local_caches=tuple(open_path(Path(path)) for path in call.many("localcache-repo")),
    )


def _header(written: str) -> tuple[str, str]:
    name, equals, value = written.partition("=")
    if not equals:
        raise Failure("Missing '=' in --http-header")
    return name, value


VERB = Verb(
    run,
    "REMOTE [BRANCH...]",
    (
        COMMIT_ONLY,
        text("cache-dir", "DIR", "Keep what is cached in this folder"),
        DISABLE_FSYNC,
        PER_OBJECT_FSYNC,
        flag("disable-static-deltas", "Use no static deltas"),
        REQUIRE_DELTAS,
        flag("mirror", "Make the refs those of the repository itself; all of them if none are named"),
        many("subpath", "PATH", "Fetch only what is at and below PATH of the commits"),
        UNTRUSTED,
        flag("http-trusted", "Do not verify checksums of what comes over HTTP into a mirror"),
        BAREUSERONLY_FILES,
        flag("dry-run", "Print what would be fetched (needs --require-static-deltas)"),
        DEPTH,
        text("url", "URL", "Fetch from URL in place of the remote's"),
        many("http-header", "NAME=VALUE", "Send this header with every request"),
        number("update-frequency", "FREQUENCY", "Milliseconds between updates of the progress shown (0: the usual)"),
        number("network-retries", "N", "How often to try a download again (default: 5)"),
        many("localcache-repo", "REPO", "Take objects from this repository if it has them", "L"),
        flag("timestamp-check", "Refuse commits older than what their refs point at", "T"),
        text("timestamp-check-from-rev", "REV", "Refuse commits older than this revision"),
        NO_BINDINGS,
        text("append-user-agent", "TEXT", "Add this to what the program calls itself", hidden=True),
    ),
)
