"""What a checkout can be asked for: the values that `checkout` takes."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

Labeller = Callable[[str, int], str | None]
"""(absolute path in the system, `st_mode`) → SELinux label, or None for no label."""


class Checkout(StrEnum):
    """How files come into a checkout.

    `COPY`: independent files with owner, mode, extended attributes, time 0 (needs root). `HARDLINK`: links to the
    objects of a bare repository, for deployments. `USER`: links to the objects of a bare-user or bare-user-only
    repository, or copies; without owners, extended attributes and set-id bits. Trees of bare-user-only repositories
    are always checked out as with `USER`.
    """

    COPY = "copy"
    HARDLINK = "hardlink"
    USER = "user"


class OnExisting(StrEnum):
    """What to do where there is something already.

    `FAIL`: the folder may exist but be empty. `REPLACE`: files take the place of files. `KEEP`: what exists stays.
    `IDENTICAL`: files may exist if they are the same. All but `FAIL` merge directories and leave the owner, mode and
    attributes of those that exist as they are.
    """

    FAIL = "fail"
    REPLACE = "replace"
    KEEP = "keep"
    IDENTICAL = "identical"


@dataclass(frozen=True, slots=True)
class CheckoutOptions:
    """What else a checkout can do; the defaults are those of `ostree checkout`.

    `subpath`: check out what lies there in the tree; a file goes into the folder. `skip`: absolute paths in what is
    checked out that are left out ("/usr/file"; "/usr/" with all below it). `force_copy`: never link.
    `require_hardlinks`: fail where a link is refused instead of copying (empty files, and the symlinks of bare-user
    repositories, are always made anew). `whiteouts`: `.wh.NAME` removes NAME, `.wh..wh..opq` empties its directory,
    and files may replace directories. `passthrough_whiteouts`: `.ostree-wh.NAME` becomes the overlayfs whiteout NAME.
    `bareuseronly_dirs`: directories lose the mode bits outside of 0775. `labels`: what SELinux labels to set (none are
    linked then), for paths that begin with `label_prefix`, by default the subpath. `uncompressed_cache`: unpack the
    files of an archive repository into its `uncompressed-objects-cache`, and link them from there, in user checkouts.
    `new_folder`: refuse a folder that exists, even an empty one. `durable`: sync the file system before returning.
    """

    subpath: str = "/"
    skip: frozenset[str] = frozenset()
    force_copy: bool = False
    require_hardlinks: bool = False
    whiteouts: bool = False
    passthrough_whiteouts: bool = False
    bareuseronly_dirs: bool = False
    labels: Labeller | None = None
    label_prefix: str | None = None
    uncompressed_cache: bool = False
    new_folder: bool = False
    durable: bool = False
