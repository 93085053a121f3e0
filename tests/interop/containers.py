"""podman, buildah and skopeo for tests, as root, with everything they write below one folder.

What it takes to run containers inside containers and sandboxes too:
- storage driver vfs: overlayfs on overlayfs does not work;
- `--cgroups=disabled`, and a cgroup2 mounted over /sys/fs/cgroup in a mount namespace of our own: crun refuses the
  hybrid layout that some hosts have;
- `--ulimit`: podman raises limits by default, for which sandboxes lack CAP_SYS_RESOURCE;
- a short `--runroot`: podman takes 50 characters at most;
- `--network none`, so that no network plug-ins are needed;
- `buildah run --isolation chroot`: needs no container runtime at all.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

ULIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


class Containers:
    """A container storage of its own below `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run = tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True)
        self.storage = ("--root", f"{folder}/storage", "--runroot", self._run.name, "--storage-driver", "vfs")

    def run_image(self, image: str, *command: str) -> str:
        """What `command` prints in a container of `image` ("oci:PATH:NAME"), which is pulled first."""
        identity = self.podman("pull", "--quiet", image).split()[-1]
        return self.podman("run", "--rm", "--network", "none", "--cgroups=disabled", *ULIMITS, identity, *command)

    def podman(self, *words: str) -> str:
        return output(
            [
                *("unshare", "--mount", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"),
                *("podman", *self.storage, "--cgroup-manager", "cgroupfs", *words),
            ]
        )

    def buildah(self, *words: str) -> str:
        return output(["buildah", *self.storage, *words])

    def derive(self, base: str, target: str, commands: Iterable[Sequence[str]]) -> None:
        """Make the image `target` of `base` (both "oci:PATH:NAME"): the commands run in it, one layer comes on top."""
        container = self.buildah("from", base).split()[-1]
        try:
            for command in commands:
                self.buildah("run", "--isolation", "chroot", container, "--", *command)
            self.buildah("commit", "--quiet", container, target)
        finally:
            self.buildah("rm", container)


def skopeo(*words: str) -> str:
    return output(["skopeo", *words])


def output(argv: Sequence[str | Path]) -> str:
    """What a program prints; fails the test with everything it said if it does not end well."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    words = " ".join(map(str, argv))
    assert done.returncode == 0, f"{words}\nexited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_programs(root: Path, *programs: str) -> None:
    """Make `root` a tree in which these programs of the host run, with the libraries they need (merged /usr)."""
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for program in programs:
        found = shutil.which(program)
        assert found is not None, program
        shutil.copy(Path(found).resolve(), root / "usr/bin" / program)
        for word in output(["ldd", found]).split():
            if word.startswith("/"):
                library = root / "usr" / word.removeprefix("/usr/").lstrip("/")
                library.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(word).resolve(), library)
