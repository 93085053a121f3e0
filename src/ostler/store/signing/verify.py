"""What a remote's configuration demands of commits and summaries, and whether they fulfil it.

Nothing said, GPG signatures of commits are demanded (`gpg-verify`). `sign-verify` names types of signatures, or is true
for any type; `gpg-verify-summary` and `sign-verify-summary` are the same for the summary. Where several demands are
made, all must be met, each by one good signature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostler.formats.gvariant import FormatError, Variant
from ostler.formats.keyfile import split_list
from ostler.formats.objects import Checksum, decode_detached
from ostler.store.remotes import find_remote
from ostler.store.signing.errors import KeyFormatError, SignatureError
from ostler.store.signing.kinds import SIGN_TYPES, Trust, Verified, check_kind
from ostler.store.signing.places import USUAL, Places

if TYPE_CHECKING:
    from ostler.store.repo import Remote, Repo
    from ostler.store.signing.ed25519 import PublicKey
    from ostler.store.signing.gpg import GpgTrust

GPG_METADATA_KEY = "ostree.gpgsigs"

_TRUE, _FALSE = ("true", "1"), ("false", "0", "")


@dataclass(frozen=True, slots=True)
class Demand:
    """Signatures of one type that are accepted; `load` finds the keys, which may raise `KeyFormatError`."""

    metadata_key: str
    load: Callable[[], Trust]


@dataclass(frozen=True, slots=True)
class Demands:
    """What is demanded of one kind of thing (commits, or the summary): None for nothing."""

    gpg: "Callable[[], GpgTrust] | None" = None
    signed: tuple[Demand, ...] | None = None

    def __bool__(self) -> bool:
        return self.gpg is not None or self.signed is not None


class Verifier:
    """Checks what comes from one remote. Keys are loaded when the first signature is checked, and kept."""

    def __init__(self, remote: str, commits: Demands, summary: Demands) -> None:
        self.remote = remote
        self._commits = commits
        self._summary = summary
        self._trusts: dict[int, Trust] = {}
        self._gpg: GpgTrust | None = None

    @property
    def checks_commits(self) -> bool:
        """Whether commits must be signed."""
        return bool(self._commits)

    @property
    def checks_summary(self) -> bool:
        """Whether the summary must be signed; then there must be one."""
        return bool(self._summary)

    @property
    def checks_summary_by_gpg(self) -> bool:
        """Whether the summary must have a GPG signature."""
        return self._summary.gpg is not None

    def verify_commit(
        self, checksum: Checksum, data: bytes, detached: Mapping[str, Variant] | None
    ) -> tuple[Verified, ...]:
        """The good signatures that fulfil what is demanded of commits (none if nothing is).

        `data` are the bytes of the commit object, whose digest the caller has checked; `detached` its detached
        metadata. Raises `SignatureError`, and `KeyFormatError` where keys of the system cannot be read.
        """
        found: list[Verified] = []
        if self._commits.gpg is not None:
            try:
                found += self._check_gpg(self._commits.gpg, data, detached, "gpg-verify")
            except SignatureError as error:
                raise SignatureError(f"Commit {checksum}: {error.message}", hint=error.hint) from error
        if self._commits.signed is not None:
            if not detached:
                raise SignatureError(
                    f"Can't verify commit without detached metadata: {self.remote} serves no signature of {checksum}",
                    hint=self._unsigned_hint("sign-verify"),
                )
            try:
                found.append(self._check_signed(self._commits.signed, data, detached, "sign-verify"))
            except SignatureError as error:
                raise SignatureError(f"Can't verify commit {checksum}: {error.message}", hint=error.hint) from error
        return tuple(found)

    def verify_summary(self, summary: bytes, signatures: bytes | None) -> tuple[Verified, ...]:
        """The same for the bytes of the files `summary` and `summary.sig` (None: there is none)."""
        if not self._summary:
            return ()
        if signatures is None:
            option, kind = ("gpg-verify-summary", "GPG") if self._summary.gpg else ("sign-verify-summary", "Signatures")
            raise SignatureError(
                f"{kind} verification enabled, but no summary.sig found "
                f"(use {option}=false in remote config to disable)",
                hint=self._unsigned_hint(option),
            )
        try:
            detached = decode_detached(signatures)
        except FormatError:
            detached = {}
        found: list[Verified] = []
        if self._summary.gpg is not None:
            found += self._check_gpg(self._summary.gpg, summary, detached, "gpg-verify-summary")
        if self._summary.signed is not None:
            found.append(self._check_signed(self._summary.signed, summary, detached, "sign-verify-summary"))
        return tuple(found)

    def _check_gpg(
        self, load: "Callable[[], GpgTrust]", data: bytes, detached: Mapping[str, Variant] | None, option: str
    ) -> Sequence[Verified]:
        signatures = signatures_in(detached, GPG_METADATA_KEY)
        if not signatures:
            raise SignatureError(
                f"GPG verification enabled, but no signatures found (use {option}=false in remote config to disable)",
                hint=self._unsigned_hint(option),
            )
        if self._gpg is None:
            self._gpg = load()
        return self._gpg.check(data, signatures)

    def _check_signed(
        self, demands: Sequence[Demand], data: bytes, detached: Mapping[str, Variant], option: str
    ) -> Verified:
        failures: list[SignatureError | KeyFormatError] = []
        for demand in demands:
            signatures = signatures_in(detached, demand.metadata_key)
            if not signatures:
                continue
            try:
                trust = self._trusts.get(id(demand)) or self._trusts.setdefault(id(demand), demand.load())
                return trust.check(data, signatures)
            except (SignatureError, KeyFormatError) as error:
                failures.append(error)
        if not failures:
            raise SignatureError("No signatures found", hint=self._unsigned_hint(option))
        others = f"({len(failures) - 1} other invalid signatures): " if len(failures) > 1 else ""
        raise SignatureError(others + failures[0].message, hint=failures[0].hint) from failures[0]

    def _unsigned_hint(self, option: str) -> str:
        return (
            f"ask whoever publishes {self.remote} for signatures; "
            f'{option}=false in [remote "{self.remote}"] does without them'
        )


def signatures_in(detached: Mapping[str, Variant] | None, key: str) -> list[bytes]:
    """The signatures under `key` in detached metadata or `summary.sig`; empty if there are none of the right form."""
    held = (detached or {}).get(key)
    if held is None or held.type != "aay":
        return []
    signatures: list[bytes] = held.value
    return signatures


NOTHING = Verifier("", Demands(), Demands())
"""Demands nothing: for what the caller trusts by itself, like a folder on this machine."""


def verifier_for(
    repo: "Repo",
    remote: str | None,
    *,
    gpg_verify: bool | None = None,
    gpg_verify_summary: bool | None = None,
    sign_verify: bool | None = None,
    sign_verify_summary: bool | None = None,
    places: Places = USUAL,
) -> Verifier:
    """The verifier for what the named remote of the repository serves.

    The keywords replace (None: keep) what its configuration says. `remote` None, or a URL `file://…`, demands nothing
    but what they do. Raises `NotFoundError` (no such remote), `FormatError` (an option that is no boolean),
    `UnknownSignTypeError` and `KeyFormatError` (a key that the configuration names is none).
    """
    configured = find_remote(repo, remote) if remote is not None and not remote.startswith("file://") else None
    return verifier_of(
        repo,
        configured,
        gpg_verify=gpg_verify,
        gpg_verify_summary=gpg_verify_summary,
        sign_verify=sign_verify,
        sign_verify_summary=sign_verify_summary,
        places=places,
    )


def verifier_of(
    repo: "Repo",
    remote: "Remote | None",
    *,
    gpg_verify: bool | None = None,
    gpg_verify_summary: bool | None = None,
    sign_verify: bool | None = None,
    sign_verify_summary: bool | None = None,
    places: Places = USUAL,
) -> Verifier:
    """As `verifier_for`, of a remote at hand."""
    options = remote.options if remote is not None else {}
    name = remote.name if remote is not None else ""

    def gpg(option: str, given: bool | None, default: bool) -> "Callable[[], GpgTrust] | None":
        wanted = given if given is not None else _boolean(options, option, default)
        if not wanted:
            return None

        def load() -> "GpgTrust":
            from ostler.store.signing.keyrings import keyring_for

            return keyring_for(repo, remote, places)

        return load

    def signed(option: str, given: bool | None) -> tuple[Demand, ...] | None:
        value = options.get(option, "").strip()
        if given is False or (given is None and value in _FALSE):
            return None
        if value in (*_TRUE, *_FALSE):
            return tuple(_demand(kind, options, places, required=False) for kind in SIGN_TYPES)
        kinds = [kind.strip() for part in split_list(value) for kind in part.split(",") if kind.strip()]
        return tuple(_demand(check_kind(kind), options, places, required=True) for kind in kinds)

    commits = Demands(gpg("gpg-verify", gpg_verify, remote is not None), signed("sign-verify", sign_verify))
    summary = Demands(
        gpg("gpg-verify-summary", gpg_verify_summary, False), signed("sign-verify-summary", sign_verify_summary)
    )
    return Verifier(name, commits, summary)


def _demand(kind: str, options: Mapping[str, str], places: Places, *, required: bool) -> Demand:
    """The keys that the configuration has for the type; without any, the system's, unless they are `required`."""
    key, file = options.get(f"verification-{kind}-key"), options.get(f"verification-{kind}-file")
    if kind == "ed25519":
        from ostler.store.signing import ed25519

        if not key and not file:
            if required:
                raise _no_keys(kind)
            return Demand(ed25519.METADATA_KEY, lambda: ed25519.trust_of_system(places))
        keys = _configured_keys(key, file, places)
        return Demand(ed25519.METADATA_KEY, lambda: ed25519.Trust(keys, ed25519.revoked_by_system(places.folders)))
    from ostler.store.signing import dummy

    if file:
        raise KeyFormatError(f"Failed loading '{kind}' keys from '{file}': the type has no key files")
    if required and not key:
        raise _no_keys(kind)
    return Demand(dummy.METADATA_KEY, lambda: dummy.Trust((key,) if key else (), places.dummy))


def _no_keys(kind: str) -> KeyFormatError:
    return KeyFormatError(
        f"No keys found for required signapi type {kind}",
        hint=f"name the publisher's key by verification-{kind}-key, or a file of keys by verification-{kind}-file",
    )


def _configured_keys(key: str | None, file: str | None, places: Places) -> "tuple[PublicKey, ...]":
    from ostler.store.signing import ed25519

    keys: tuple[PublicKey, ...] = ()
    where = f"'{file}'"
    try:
        if file:
            keys += ed25519.read_public_keys(places.resolve(file))
        where = "inline `verification-key`"
        if key:
            keys += (ed25519.PublicKey.parse(key),)
    except KeyFormatError as error:
        raise KeyFormatError(
            f"Failed loading '{ed25519.NAME}' keys from {where}: {error.message}", hint=error.hint
        ) from error
    return keys


def _boolean(options: Mapping[str, str], option: str, default: bool) -> bool:
    value = options.get(option)
    if value is None:
        return default
    if value.strip() in (*_TRUE, "yes"):
        return True
    if value.strip() in ("false", "0", "no"):
        return False
    raise FormatError(f"{option}={value} is no boolean", hint="write true or false")
