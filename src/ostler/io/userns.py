"""Entering a user namespace in which this process is root over a range of ids, without being root outside.

Builds always run in one, for root too, so that they come out the same for everyone. An ordinary user is id 0 inside
and lends the ids from `/etc/subuid` and `/etc/subgid` as 1 to 65535; for root each id stands for itself.
Files are thus owned outside by the user and the lent ids. See user_namespaces(7), newuidmap(1).
"""

import ctypes
import os
import pwd
import threading
from pathlib import Path

from ostler.errors import ExitCode, OstlerError
from ostler.io.process import require_tool

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
IDS = 65536  # ids 0 to 65535, as everything on a Debian system expects (65534 is nobody)


class UserNamespaceError(OstlerError):
    """This process cannot enter a user namespace with enough ids; the hint says what the machine lacks."""

    exit_code = ExitCode.MISSING_TOOL


def in_user_namespace() -> bool:
    """Whether this process already is root in a user namespace made by `enter_user_namespace`."""
    return _entered


_entered = False


def enter_user_namespace() -> None:
    """Move this process into new user and mount namespaces where it is root over ids 0 to 65535.

    Cannot be undone; children inherit it. Must be called before any thread starts. Calling it again does nothing.
    Raises `UserNamespaceError`.
    """
    global _entered
    if _entered:
        return
    if threading.active_count() != 1:
        raise UserNamespaceError("a user namespace can only be entered while the process has one thread")
    uid, gid = os.getuid(), os.getgid()
    mapper = None if uid == 0 else _mapping_commands(uid, gid)
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    helper = os.fork()
    if helper == 0:
        status = 1
        try:
            os.close(ready_write)
            os.close(done_read)
            if os.read(ready_read, 1):
                _write_maps(os.getppid(), mapper)
                status = 0
        except OSError as error:
            os.write(done_write, str(error).encode())
        finally:
            os._exit(status)
    os.close(ready_read)
    os.close(done_write)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
        reason = os.strerror(ctypes.get_errno())
        os.close(ready_write)
        os.waitpid(helper, 0)
        raise UserNamespaceError(
            f"this system does not let you make a user namespace: {reason}",
            hint="a kernel setting forbids it: see kernel.unprivileged_userns_clone, user.max_user_namespaces and "
            "kernel.apparmor_restrict_unprivileged_userns",
        )
    os.write(ready_write, b"x")
    os.close(ready_write)
    complaint = os.read(done_read, 4096).decode("utf-8", "replace")
    os.close(done_read)
    _, wait_status = os.waitpid(helper, 0)
    if wait_status != 0:
        raise UserNamespaceError(
            f"the ids of the user namespace could not be set up: {complaint.strip() or 'newuidmap failed'}",
            hint="`ostler doctor` checks what this needs",
        )
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise UserNamespaceError(f"the mounts could not be made private: {os.strerror(ctypes.get_errno())}")
    _entered = True


def subordinate_range(table: Path, user: str, number: int) -> tuple[int, int] | None:
    """The first range (start, count) of at least 65535 ids that `table` (subuid(5)) lends to the user, or None."""
    try:
        lines = table.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split(":")
        if len(fields) == 3 and fields[0] in (user, str(number)) and int(fields[2]) >= IDS - 1:
            return int(fields[1]), int(fields[2])
    return None


def _mapping_commands(uid: int, gid: int) -> tuple[list[str], list[str]]:
    """The arguments of newuidmap and newgidmap behind the pid."""
    user = pwd.getpwuid(uid).pw_name
    commands = []
    for tool, table, own in (("newuidmap", "/etc/subuid", uid), ("newgidmap", "/etc/subgid", gid)):
        path = require_tool(tool, package="uidmap")
        lent = subordinate_range(Path(table), user, uid)
        if lent is None:
            raise UserNamespaceError(
                f"{table} lends the user {user} no range of {IDS} ids",
                hint=f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
            )
        commands.append([str(path), "0", str(own), "1", "1", str(lent[0]), str(IDS - 1)])
    return commands[0], commands[1]


def _write_maps(pid: int, commands: tuple[list[str], list[str]] | None) -> None:
    if commands is None:
        for name in ("gid_map", "uid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 0 {IDS}\n")
        return
    for tool, *arguments in commands:
        status = os.spawnv(os.P_WAIT, tool, [tool, str(pid), *arguments])
        if status != 0:
            raise OSError(f"{tool} {pid} {' '.join(arguments)} exited with {status}")
