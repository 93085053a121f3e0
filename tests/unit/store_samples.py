"""A small tree with everything that a repository can hold, on disk and as a tar archive."""

import io
import os
import tarfile
from pathlib import Path

BIG = b"".join(i.to_bytes(4, "big") * 7 for i in range(120_000))
"""3.4 MB that compress well: more than one chunk."""
NOISE = os.urandom(1_500_000)
"""1.5 MB that do not compress."""


def make_tree(root: Path) -> Path:
    """Files, links, modes and owners below `root`; needs root."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/empty").mkdir()
    (root / "usr/bin/tool").write_bytes(b"#!/bin/sh\n")
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "usr/bin/again").hardlink_to(root / "usr/bin/tool")
    (root / "usr/big").write_bytes(BIG)
    (root / "usr/noise").write_bytes(NOISE)
    (root / "usr/nothing").write_bytes(b"")
    (root / "usr/secret").write_bytes(b"s")
    (root / "usr/secret").chmod(0o000)
    (root / "usr/ümläut").symlink_to("../does/not/exist")
    (root / "bin").symlink_to("usr/bin")
    os.chown(root / "usr/secret", 12, 34)
    os.chown(root / "usr/ümläut", 56, 78, follow_symlinks=False)
    os.chown(root / "usr/empty", 9, 8)
    (root / "usr/empty").chmod(0o1777)
    os.setxattr(root / "usr/big", "user.note", b"value\0with NUL")
    os.setxattr(root / "usr/empty", "user.z", b"1")
    os.setxattr(root / "usr/empty", "user.a", b"\xff")
    return root


def tar_of(root: Path) -> bytes:
    """The tree as PAX archive with extended attributes and hard links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in [root, *sorted(root.rglob("*"))]:
            member = tar.gettarinfo(path, arcname="./" + path.relative_to(root).as_posix())
            for name in os.listxattr(path, follow_symlinks=False):
                value = os.getxattr(path, name, follow_symlinks=False)
                member.pax_headers["SCHILY.xattr." + name] = value.decode("utf-8", "surrogateescape")
            if member.isreg():
                with open(path, "rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)
    return out.getvalue()
