"""`ostree checksum`."""

import os
import stat

from ostler.cli.ostree.call import Call, Use, Verb
from ostler.cli.ostree.options import Failure, flag
from ostler.formats.objects import DirMeta


def run(call: Call) -> None:
    """Print the checksum of the object that a file, a symlink or a folder's metadata would be."""
    if not call.arguments:
        raise Failure("A filename must be given")
    from ostler.store.content import read_tree_xattrs
    from ostler.store.union import checksum_of_file

    path, with_xattrs = call.arguments[0], not call.flag("ignore-xattrs")
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        xattrs = read_tree_xattrs(path) if with_xattrs else ()
        call.out(DirMeta(status.st_uid, status.st_gid, status.st_mode, xattrs).checksum)
    else:
        call.out(checksum_of_file(path, with_xattrs=with_xattrs))


VERB = Verb(run, "PATH", (flag("ignore-xattrs", "Leave extended attributes out"),), Use.NONE)
