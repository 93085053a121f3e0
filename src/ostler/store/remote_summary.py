"""The summary of a remote: fetched only if it changed, used only if it is signed as the remote's settings demand."""

from dataclasses import dataclass

from ostler.errors import CorruptError
from ostler.formats.gvariant import FormatError
from ostler.io.http import Conditional, fetch_conditional
from ostler.store.errors import StoreError
from ostler.store.mirrors import Mirrors, OverMirrors
from ostler.store.signing.errors import SignatureError
from ostler.store.signing.verify import Verifier
from ostler.store.summary import MAX_SUMMARY, Summary
from ostler.store.summary_cache import SummaryCache

SIGNATURE = ".sig"
MAX_SIGNATURE = 16 * 1024 * 1024


class StaleCacheError(StoreError):
    """A cached summary does not go with its signature any more, and the caller wanted to hear of that."""


@dataclass(frozen=True, slots=True)
class SummaryFiles:
    """The files `summary` and `summary.sig` as a remote has them (None: it has none), verified as far as demanded."""

    summary: bytes | None
    signature: bytes | None

    def parse(self, source: str) -> Summary | None:
        """The summary; raises `CorruptError` for a damaged one. `source` is for the message."""
        if self.summary is None:
            return None
        try:
            return Summary.decode(self.summary)
        except FormatError as error:
            raise CorruptError(
                f"{source}: the file `summary` is damaged: {error.message}",
                hint="whoever publishes there must write it again (`ostree summary --update`)",
            ) from error


def fetch_summary(
    mirrors: Mirrors,
    verifier: Verifier,
    cache: SummaryCache | None,
    *,
    with_signature: bool,
    refuse_stale_cache: bool = False,
) -> SummaryFiles:
    """Get the summary, and its signature if demanded or `with_signature`; from the cache what did not change.

    A signature that is the cached one stands for the cached summary, so that neither is fetched while a server shows
    old and new files mixed. Raises `NetworkError`, `SignatureError`, `StaleCacheError`.
    """
    old = cache.load() if cache is not None else None
    if not (with_signature or verifier.checks_summary):
        found = _fetch(mirrors, "", old)
        if cache is not None and found is not None and found is not old:
            cache.drop(SIGNATURE)  # that of another summary
            cache.save(found)
        return SummaryFiles(_data(found), None)
    old_signature = cache.load(SIGNATURE) if cache is not None else None
    signature = _fetch(mirrors, SIGNATURE, old_signature)
    cached = (
        signature is not None and old is not None and old_signature is not None and signature.data == old_signature.data
    )
    found = old if cached else _fetch(mirrors, "", old)
    if found is None and verifier.checks_summary:
        raise SignatureError(
            f"{'GPG' if verifier.checks_summary_by_gpg else 'Signature'} verification enabled, but no summary found "
            "(use gpg-verify-summary=false in remote config to disable)",
            hint=f"{mirrors.name} has no file `summary`; whoever publishes there must write and sign it",
        )
    if found is not None:
        assert found.data is not None
        try:
            verifier.verify_summary(found.data, _data(signature))
        except SignatureError as error:
            if not cached and found is not old:
                raise
            if refuse_stale_cache:
                raise StaleCacheError(
                    f"Remote {verifier.remote} cached summary invalid and "
                    "OSTREE_REPO_TEST_ERROR_INVALID_CACHE specified",
                    hint=error.message,
                ) from error
            found = _fetch(mirrors, "", None)
            if found is None or found.data is None:
                raise
            verifier.verify_summary(found.data, _data(signature))
    if cache is not None and found is not None and found is not old:
        cache.save(found)
    if cache is not None and signature is not None and found is not None and signature is not old_signature:
        cache.save(signature, SIGNATURE)
    return SummaryFiles(_data(found), _data(signature))


def _fetch(mirrors: Mirrors, suffix: str, old: Conditional | None) -> Conditional | None:
    """The file `summary` or `summary.sig`: `old` itself if that did not change, None if there is none."""
    limit = MAX_SIGNATURE if suffix else MAX_SUMMARY
    found = fetch_conditional(
        OverMirrors(mirrors),
        f"summary{suffix}",
        limit=limit,
        etag=None if old is None else old.etag,
        modified=None if old is None or old.etag is not None else old.modified,
    )
    return old if found is not None and found.data is None else found


def _data(found: Conditional | None) -> bytes | None:
    return None if found is None else found.data
