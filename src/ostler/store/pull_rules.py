"""Which commits may come in: signed as demanded, meant for the refs that they come under, and not older than wanted."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ostler.errors import CorruptError
from ostler.formats.objects import Checksum
from ostler.store.bindings import binding_fault
from ostler.store.pull_options import PullOptions
from ostler.store.repo import Repo
from ostler.store.signing.verify import Verifier
from ostler.store.transfer import ArrivedCommit, refuse_binding


class OlderCommitError(CorruptError):
    """A commit is older than the one that it would replace."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The rules of one pull from `source`, to be called with each commit before it is written (see `Terms.admit`).

    `before` has, for each ref whose age is to be checked, the commit that it points at now; commits must belong to
    `collection` if that is given.
    """

    repo: Repo
    source: str
    options: PullOptions
    verifier: Verifier
    collection: str | None
    before: Mapping[str, Checksum | None]

    def __call__(self, arrived: ArrivedCommit) -> None:
        """Raise `SignatureError`, `CorruptError` or `OlderCommitError` for a commit that must not come in."""
        self.verifier.verify_commit(arrived.checksum, arrived.data, arrived.detached)
        if self.options.verify_bindings:
            for ref in arrived.refs or (None,):
                refuse_binding(self.source, arrived.checksum, binding_fault(arrived.commit, ref, self.collection))
        older = [self.before.get(ref) for ref in arrived.refs]
        for current in (*older, self.options.timestamp_check_from):
            if current is not None:
                _check_age(self.repo, arrived, current)


def _check_age(repo: Repo, arrived: ArrivedCommit, current: Checksum) -> None:
    old = repo.load_commit(current).timestamp
    if arrived.commit.timestamp < old:
        raise OlderCommitError(
            f"Upgrade target revision '{arrived.checksum}' with timestamp '{_date(arrived.commit.timestamp)}' is "
            f"chronologically older than current revision '{current}' with timestamp '{_date(old)}'",
            hint="somebody may be trying to bring an old version back; pull without the check if you want that version",
        )


def _date(timestamp: int) -> str:
    return time.strftime("%a %d %b %Y %H:%M:%S UTC", time.gmtime(timestamp)) if timestamp < 1 << 40 else str(timestamp)
