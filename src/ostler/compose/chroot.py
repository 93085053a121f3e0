"""Running a program of an image inside the image: mounts of its own that vanish with it, no network, no daemons left.

Needs to be id 0 in a user namespace or on a host. See unshare(1), mount_namespaces(7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ostler.io.process import CommandError, Result, require_tool, run
from ostler.io.progress import Reporter, silent

ENVIRONMENT: Mapping[str, str] = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "INITRD": "No",  # hooks of kernel packages make no initramfs; that is a step of its own
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}

# In front of a command: mounts, processes and network of its own, which all end with it.
ISOLATED = (
    "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--net",
)  # fmt: skip

_SCRIPT = r"""
set -eu
root=$1; shift
binds=$1; shift
writable=$1; shift
mount --bind "$root" "$root"
cd "$root"
[ "$writable" = yes ] || mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=755,size=64k,nr_inodes=64 dev "$root/dev"
for node in null zero full random urandom tty; do
    : > "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm"
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys" 2>/dev/null || true
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mkdir -p "$root/run/lock"
[ ! -d "$root/var/tmp" ] || [ "$writable" = yes ] || mount -t tmpfs -o mode=1777 tmp "$root/var/tmp"
printf '%s' "$binds" | while IFS=: read -r outside inside mode; do
    mkdir -p "$root/$inside"
    mount --bind "$outside" "$root/$inside"
    [ "$mode" = rw ] || mount -o remount,bind,ro "$root/$inside"
done
exec chroot "$root" "$@"
"""


@dataclass(frozen=True, slots=True)
class Bind:
    """A directory of the builder seen inside the image, below /run or /tmp (`inside`, no leading slash)."""

    outside: Path
    inside: str
    writable: bool = False


def run_in(
    root: Path,
    argv: Sequence[str],
    *,
    binds: Sequence[Bind] = (),
    writable: bool = False,
    env: Mapping[str, str] | None = None,
    capture: bool = True,
    report: Reporter = silent,
    hint: str | None = None,
) -> Result:
    """Run `argv` with `root` as its root directory.

    Unless `writable`, everything of the image is read-only but /run, /tmp, /var/tmp (empty, in memory) and what is
    bound so: a checkout made of hard links into the store cannot be damaged. Raises `CommandError`.
    """
    require_tool("unshare", package="util-linux")
    lines = "".join(f"{bind.outside}:{bind.inside}:{'rw' if bind.writable else 'ro'}\n" for bind in binds)
    arguments = [str(root), lines, "yes" if writable else "no", *argv]
    try:
        return run(
            [*ISOLATED, "/bin/sh", "-c", _SCRIPT, "sh", *arguments],
            env={**ENVIRONMENT, **(env or {})},
            capture=capture,
            report=report,
        )
    except CommandError as error:
        # What was run matters to people, not how the mounts were made.
        raise CommandError(["chroot", str(root), *argv], error.status, error.output, hint=hint) from error
