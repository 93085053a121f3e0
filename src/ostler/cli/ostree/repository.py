"""Which repository a verb works on."""

import os
from contextlib import suppress
from pathlib import Path

from ostler.cli.ostree.call import Call
from ostler.cli.ostree.options import Failure
from ostler.errors import NotFoundError
from ostler.store.repo import Repo

SYSTEM_REPOSITORIES = ("/sysroot/ostree/repo", "/ostree/repo")


def default_path() -> Path:
    """The repository that is meant when `--repo` is not given."""
    if os.path.isdir("objects") and os.path.isfile("config"):  # noqa: PTH112, PTH113 - pathlib is not worth its time here
        return Path()
    named = os.environ.get("OSTREE_REPO")
    if named:
        return Path(named)
    return Path(next((path for path in SYSTEM_REPOSITORIES if os.path.isdir(path)), SYSTEM_REPOSITORIES[-1]))  # noqa: PTH112


def open_repo(call: Call) -> Repo:
    """The repository of a call; raises `Failure` if there is none, after printing the help if none was named."""
    path = call.repo_path
    try:
        repo = Repo.open(default_path() if path is None else path)
    except NotFoundError as error:
        if path is None:
            call.err(call.help().rstrip("\n") + "\n")
            raise Failure("Command requires a --repo argument") from error
        raise Failure(f"opening repo: {_missing(path)}") from error
    with suppress(OSError):  # there already, or not ours to write; people free space by removing it
        os.mkdir(f"{repo.path}/tmp")  # noqa: PTH102
    return repo


def open_path(path: Path) -> Repo:
    """Another repository, such as the source of a local pull; raises `Failure`."""
    try:
        return Repo.open(path)
    except NotFoundError as error:
        raise Failure(f"opening repo: {_missing(path)}") from error


def _missing(path: Path) -> str:
    for part, name in ((path, str(path)), (path / "objects", "objects"), (path / "tmp", "tmp")):
        if not part.is_dir():
            return f"opendir({name}): {'Not a directory' if part.exists() else 'No such file or directory'}"
    return "openat(config): No such file or directory"
