"""SELinux labels of files by the policy of a root file system, through the system's libselinux.

The policy is found as libselinux finds it: `etc/selinux/config` (else `usr/etc/selinux/config`) names its type, the
folder of that type beside it holds `contexts/files/file_contexts`.
"""

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any

from ostler.errors import OstlerError
from ostler.store.errors import StoreError
from ostler.store.repo import Repo
from ostler.store.tree import Directory

_LIBRARY = "libselinux.so.1"
_FILES = 0  # SELABEL_CTX_FILE
_MAX_POLICY_FILE = 64 << 20


class SelinuxError(StoreError):
    """A policy cannot be used, or the library that reads it is missing."""


class Policy:
    """The labels of an opened policy. `name` is its type ("targeted"); None if the system has SELinux switched off."""

    def __init__(self, name: str | None = None, handle: Any = None) -> None:
        self.name = name
        self._handle = handle

    def label(self, path: str, mode: int) -> str | None:
        """The label of the file at an absolute path, whose type is in `mode`; None if there is none for it."""
        if self._handle is None:
            return None
        # Labels below /proc differ by what runs; libostree labels the mount point like /mnt.
        looked_up = "/mnt" if path == "/proc" else path
        library = _library()
        found = ctypes.c_char_p()
        if library.selabel_lookup_raw(self._handle, ctypes.byref(found), os.fsencode(looked_up), mode) != 0:
            error = ctypes.get_errno()
            if error == 2:  # ENOENT
                return None
            raise SelinuxError(f"the SELinux policy {self.name} cannot label {path}: {os.strerror(error)}")
        text = (found.value or b"").decode()
        library.freecon(found)
        return text

    def close(self) -> None:
        """Forget the policy; labels are None from now on."""
        if self._handle is not None:
            _library().selabel_close(self._handle)
            self._handle = None


def load_policy(root: Path) -> Policy:
    """The policy of the root file system at `root`; one without labels if that has SELinux disabled or none.

    Raises `SelinuxError`, also if the policy must be read and libselinux is not installed.
    """
    folder = root / "etc/selinux"
    if not folder.exists():
        folder = root / "usr/etc/selinux"
    name, enabled = _configured(folder / "config")
    if not enabled or not name:
        return Policy()
    library = _library()
    policy = folder / name
    if library.selinux_set_policy_root(os.fsencode(policy)) != 0:
        raise SelinuxError(f"selinux_set_policy_root({policy}): {os.strerror(ctypes.get_errno())}")
    handle = library.selabel_open(_FILES, None, 0)
    if not handle:
        raise SelinuxError(
            f"With policy root '{policy}': selabel_open(SELABEL_CTX_FILE): {os.strerror(ctypes.get_errno())}",
            hint="it must hold contexts/files/file_contexts",
        )
    opened = Policy(name, handle)
    if opened.label("/", 0o755) is None:
        opened.close()
        raise SelinuxError(f"With policy root '{policy}': Failed to look up context of /")
    return opened


def load_policy_of_tree(repo: Repo, directory: Directory) -> Policy:
    """The policy that a stored tree carries in `usr/etc/selinux` (or `etc/selinux`); see `load_policy`."""
    import tempfile

    for place in ("usr/etc/selinux", "etc/selinux"):
        found = directory.directory(place)
        if found is None:
            continue
        with tempfile.TemporaryDirectory(prefix="ostler-selinux-") as folder:
            _write(repo, found, Path(folder, "etc/selinux"))
            return load_policy(Path(folder))
    return Policy()


def _write(repo: Repo, directory: Directory, target: Path) -> None:
    target.mkdir(parents=True)
    for name, checksum in directory.files.items():
        meta, size, content = repo.open_file_object(checksum, verify=True)
        with content:
            if meta.is_symlink:
                (target / name).symlink_to(meta.target)
            elif size > _MAX_POLICY_FILE:
                raise SelinuxError(f"{name} in the SELinux policy of a commit is larger than any policy's")
            else:
                (target / name).write_bytes(content.read())
    for name, below in directory.dirs.items():
        _write(repo, below, target / name)


def _configured(config: Path) -> tuple[str, bool]:
    """(type of the policy, whether it is enforcing or permissive)"""
    try:
        lines = config.read_text().splitlines()
    except FileNotFoundError:
        return "", False
    except (OSError, UnicodeDecodeError) as error:
        raise SelinuxError(f"{config} cannot be read: {error}") from error
    name, enabled = "", False
    for line in lines:
        if line.startswith("SELINUXTYPE="):
            name = line.partition("=")[2].strip()
        elif line.startswith("SELINUX="):
            enabled = line.partition("=")[2].lower().startswith(("enforcing", "permissive"))
    if "/" in name or name in (".", ".."):
        raise SelinuxError(f"{config} names a policy outside its folder: {name!r}")
    return name, enabled


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise _missing(error) from error
    library.selabel_open.restype = ctypes.c_void_p
    library.selabel_open.argtypes = [ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint]
    library.selabel_lookup_raw.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.selabel_close.argtypes = [ctypes.c_void_p]
    library.selabel_close.restype = None
    library.selinux_set_policy_root.argtypes = [ctypes.c_char_p]
    library.freecon.argtypes = [ctypes.c_char_p]
    library.freecon.restype = None
    return library


def _missing(error: OSError) -> OstlerError:
    return SelinuxError(
        f"SELinux labels need the library {_LIBRARY}, which cannot be loaded: {error}",
        hint="install it (Debian: libselinux1), or commit without labels",
    )
