"""What the image says about its updates: `/usr/lib/ostler/update.conf`, a key file with the group `[update]`."""

from dataclasses import dataclass
from pathlib import Path

from ostler.errors import CorruptError
from ostler.formats.keyfile import Keyfile, unescape
from ostler.store.repo import Repo
from ostler.sysroot.deploy import DEFAULT_KEEP
from ostler.sysroot.install import REMOTE

PATH = "usr/lib/ostler/update.conf"


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """`source` (key `from`) is the URL of the remote, `ref` what to follow if the origin does not say, `keep` how many
    deployments stay.
    """

    source: str | None = None
    ref: str | None = None
    keep: int = DEFAULT_KEEP


def read_update_config(root: Path) -> UpdateConfig:
    """Read the file below `root`; without one nothing is set. Raises `CorruptError`."""
    try:
        keys = Keyfile.parse((root / PATH).read_text())
    except FileNotFoundError:
        return UpdateConfig()
    except (UnicodeDecodeError, CorruptError) as error:
        raise CorruptError(f"/{PATH} is malformed: {error}") from error
    source, ref = keys.get("update", "from"), keys.get("update", "ref")
    keep = max(keys.get_int("update", "keep", DEFAULT_KEEP), DEFAULT_KEEP)
    return UpdateConfig(unescape(source) if source else None, unescape(ref) if ref else None, keep)


def follow_source(repo: Repo, config: UpdateConfig) -> bool:
    """Make the remote of the machine's repository what the image says; whether that changed anything.

    Options that someone added to the remote stay.
    """
    if config.source is None or not config.source.startswith(("http://", "https://", "file://", "/")):
        return False
    current = repo.remotes().get(REMOTE)
    if current is not None and current.url == config.source:
        return False
    repo.add_remote(REMOTE, config.source, current.options if current is not None else {"gpg-verify": "false"})
    return True
