"""How to pull: the settings of one pull besides which refs from where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.store.errors import StoreError
from ostler.store.signing.places import USUAL, Places

if TYPE_CHECKING:
    from ostler.formats.objects import Checksum
    from ostler.store.repo import Repo

CONNECTIONS = 8
RETRIES = 5


class UseDeltas(StrEnum):
    """Whether static deltas are used: where they help, never, or whatever it takes."""

    USE = "use"
    NEVER = "never"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class PullOptions:
    """The settings of a pull; the defaults are those of `ostree pull`, but for `untrusted`.

    What comes: `mirror` makes the repository a copy of the remote (its refs become refs of the repository itself; with
    no refs named, all of them, and summary and signature too). `depth` counts parents to bring besides each commit
    (-1: all that there are). `subpaths` ("/usr/share") limits what of the tree comes, and `commit_metadata_only` to
    commits; the commits then stay partial. `static_deltas`; `dry_run` (with deltas required) only says what would be
    fetched. `override_url` replaces the remote's URLs, `override_commits` what refs point at. `collection_refs` are
    pulled besides the refs named: (collection, ref, commit or None for what the remote says).

    What is refused: with `timestamp_check` commits older than what the ref points at, with `timestamp_check_from`
    those older than that commit; without `verify_bindings` commits may come under refs that they do not name;
    `bareuseronly_files` refuses files with modes that `bare-user-only` cannot hold. `untrusted` verifies what comes
    from a repository on this machine; without it, files are linked where that is possible and not looked at (pulls
    over HTTP always verify, except into an archive mirror with `http_trusted`). `gpg_verify`, `gpg_verify_summary`,
    `sign_verify` and `sign_verify_summary` replace (None: keep) what the remote's configuration says.

    How: `disable_fsync`, `per_object_fsync`; `http_headers`, `append_user_agent`; `network_retries` of each request
    after its first failure; `connections` in parallel; `local_caches` are repositories on this machine to take objects
    from instead; `cache_dir` holds summaries (default: `tmp/cache` of the repository); with `refuse_stale_cache` one
    that does not go with its signature is an error instead of being fetched again. `user_agent` and `proxy` replace
    (None: keep) Ostler's name and the remote's proxy.
    `low_speed_bytes` a second for `low_speed_seconds` end a request, which is then tried again (0: only silence does).
    """

    mirror: bool = False
    depth: int = 0
    subpaths: tuple[str, ...] = ()
    commit_metadata_only: bool = False
    static_deltas: UseDeltas = UseDeltas.USE
    dry_run: bool = False
    override_url: str | None = None
    override_commits: "Mapping[str, Checksum]" = field(default_factory=dict)
    collection_refs: "tuple[tuple[str, str, Checksum | None], ...]" = ()
    timestamp_check: bool = False
    timestamp_check_from: "Checksum | None" = None
    verify_bindings: bool = True
    bareuseronly_files: bool = False
    untrusted: bool = True
    http_trusted: bool = False
    gpg_verify: bool | None = None
    gpg_verify_summary: bool | None = None
    sign_verify: bool | None = None
    sign_verify_summary: bool | None = None
    disable_fsync: bool = False
    per_object_fsync: bool = False
    http_headers: Mapping[str, str] = field(default_factory=dict)
    user_agent: str | None = None
    append_user_agent: str | None = None
    proxy: str | None = None
    network_retries: int = RETRIES
    connections: int = CONNECTIONS
    local_caches: "tuple[Repo, ...]" = ()
    cache_dir: Path | None = None
    refuse_stale_cache: bool = False
    low_speed_bytes: int = 1000
    low_speed_seconds: int = 30
    places: Places = USUAL

    def __post_init__(self) -> None:
        for path in self.subpaths:
            if not path.startswith("/"):
                raise StoreError(f"the subpath {path!r} does not start with a slash", hint=f"write /{path}")
        if self.depth < -1:
            raise StoreError(f"the depth {self.depth} is none", hint="-1 stands for all parents, 0 for none")
        if self.dry_run and self.static_deltas is not UseDeltas.REQUIRE:
            raise StoreError(
                "--dry-run requires --require-static-deltas",
                hint="without deltas nobody knows beforehand how much there is to fetch",
            )
        if self.timestamp_check and self.depth != 0:
            raise StoreError("timestamps can only be checked when no parents are pulled")
        if self.connections < 1 or self.network_retries < 0:
            raise StoreError("a pull needs at least one connection, and no fewer than 0 retries")


DEFAULTS = PullOptions()
