"""What the image says about its updates: `/usr/lib/ostler/update.conf`, a key file with the group `[update]`."""

from dataclasses import dataclass
from pathlib import Path

from ostler.errors import CorruptError
from ostler.formats.keyfile import Keyfile, unescape
from ostler.store.repo import Repo
from ostler.sysroot.deploy import DEFAULT_KEEP
from ostler.sysroot.install import REMOTE, SIGNED, UNSIGNED, UPDATE_KEYS

PATH = "usr/lib/ostler/update.conf"
_DEMAND = "sign-verify"
_SOURCES = ("http://", "https://", "file://", "/")


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """`source` (key `from`) is the URL of the remote, `ref` what to follow if the origin does not say, `keep` how many
    deployments stay. `signed` is whether the image has keys by which new versions are signed.
    """

    source: str | None = None
    ref: str | None = None
    keep: int = DEFAULT_KEEP
    signed: bool = False


def read_update_config(root: Path) -> UpdateConfig:
    """Read the file below `root`; without one nothing is set. Raises `CorruptError`."""
    signed = (root / UPDATE_KEYS).is_file()
    try:
        keys = Keyfile.parse((root / PATH).read_text())
    except FileNotFoundError:
        return UpdateConfig(signed=signed)
    except (UnicodeDecodeError, CorruptError) as error:
        raise CorruptError(f"/{PATH} is malformed: {error}") from error
    source, ref = keys.get("update", "from"), keys.get("update", "ref")
    keep = max(keys.get_int("update", "keep", DEFAULT_KEEP), DEFAULT_KEEP)
    return UpdateConfig(unescape(source) if source else None, unescape(ref) if ref else None, keep, signed)


def follow_source(repo: Repo, config: UpdateConfig) -> bool:
    """Make the remote of the machine's repository what the image says; whether that changed anything.

    Options that someone added to the remote stay. Once an image has had keys, signatures are demanded from then on.
    """
    current = repo.remotes().get(REMOTE)
    source = config.source if config.source is not None and config.source.startswith(_SOURCES) else None
    url = source or (current.url if current is not None else None)
    if url is None:
        return False
    options = dict(SIGNED if config.signed else UNSIGNED)
    if current is not None:
        demanded = {_DEMAND: SIGNED[_DEMAND]} if config.signed else {}
        options = {**demanded, **current.options}
        if (current.url, dict(current.options)) == (url, options):
            return False
    repo.add_remote(REMOTE, url, options)
    return True
