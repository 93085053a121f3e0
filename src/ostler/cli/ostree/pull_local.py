"""`ostree pull-local`."""

from pathlib import Path

from ostler.cli.ostree import pull
from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag, text
from ostler.cli.ostree.places import places
from ostler.cli.ostree.repository import open_path
from ostler.cli.ostree.transfers import print_status, reporter


def run(call: Call) -> None:
    """Copy refs from a repository on this machine."""
    from ostler.store.pull import pull_local
    from ostler.store.pull_options import PullOptions, UseDeltas

    if not call.arguments:
        call.usage_error("DESTINATION must be specified")
    source, *refs = call.arguments
    open_path(Path(source).absolute())  # raises the usual error if there is none
    remote = call.text("remote")
    if remote is None and (call.flag("gpg-verify") or call.flag("gpg-verify-summary")):
        raise Failure("Must specify remote name to enable gpg verification")
    options = PullOptions(
        depth=call.number("depth") or 0,
        commit_metadata_only=call.flag("commit-metadata-only"),
        static_deltas=UseDeltas.REQUIRE if call.flag("require-static-deltas") else UseDeltas.NEVER,
        verify_bindings=not call.flag("disable-verify-bindings"),
        bareuseronly_files=call.flag("bareuseronly-files"),
        untrusted=call.flag("untrusted"),
        gpg_verify=call.flag("gpg-verify"),
        gpg_verify_summary=call.flag("gpg-verify-summary"),
        sign_verify=False,
        sign_verify_summary=False,
        disable_fsync=call.flag("disable-fsync"),
        per_object_fsync=call.flag("per-object-fsync"),
        places=places(),
    )
    result = pull_local(call.repo, Path(source), refs or None, remote=remote, options=options, report=reporter())
    print_status(call, result.statistics)


VERB = Verb(
    run,
    "SRC_REPO [REFS...]",
    (
        pull.COMMIT_ONLY,
        text("remote", "REMOTE", "Make the refs those of this remote"),
        pull.DISABLE_FSYNC,
        pull.PER_OBJECT_FSYNC,
        pull.UNTRUSTED,
        pull.BAREUSERONLY_FILES,
        pull.REQUIRE_DELTAS,
        flag("gpg-verify", "Verify GPG signatures of commits (needs --remote)"),
        flag("gpg-verify-summary", "Verify GPG signatures of the summary (needs --remote)"),
        pull.NO_BINDINGS,
        pull.DEPTH,
    ),
)
