"""`ostree static-delta apply-offline` and `verify`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, text
from ostler.cli.ostree.places import places
from ostler.cli.ostree.sign import KEYS_DIR, KEYS_FILE, sign_type
from ostler.cli.ostree.static_delta import delta_argument
from ostler.errors import OstlerError

if TYPE_CHECKING:
    from ostler.store.signing.kinds import Trust


def _apply_offline(call: Call) -> None:
    from ostler.store.delta.offline import apply_offline

    if not call.arguments:
        raise Failure("PATH must be specified")
    apply_offline(call.repo, Path(call.arguments[0]), trust=_trust_if_any(call))


def _verify(call: Call) -> None:
    from ostler.store.delta.listing import verify_delta

    delta = delta_argument(call)
    try:
        verify_delta(call.repo, delta, _trust(call))
    except OstlerError:
        call.out("Verification fails")
        raise
    call.out("Verification OK")


def _trust_if_any(call: Call) -> "Trust | None":
    """The keys that were named, or those of the system if it has any."""
    try:
        return _trust(call)
    except OstlerError:
        if call.text("keys-dir") is not None or call.text("keys-file") is not None or call.arguments[1:]:
            raise
        return None


def _trust(call: Call) -> "Trust":
    from ostler.store.signing.kinds import check_kind, trust_in_file, trust_in_keys, trust_of_system

    kind, keys, keys_file = check_kind(sign_type(call)), call.arguments[1:], call.text("keys-file")
    where = places(call.text("keys-dir"))
    if keys_file is not None:
        return trust_in_file(kind, Path(keys_file), where)
    return trust_in_keys(kind, keys, where) if keys else trust_of_system(kind, where)


OPTIONS = (text("sign-type", "NAME", "The type of the signatures: ed25519 (default) or dummy"), KEYS_FILE, KEYS_DIR)
APPLY_OFFLINE = Verb(_apply_offline, "", OPTIONS)
VERIFY = Verb(_verify, "STATIC-DELTA-FILE [KEY-ID...]", OPTIONS)
