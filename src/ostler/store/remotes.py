"""The remotes of a repository: in its configuration, and for the system's repository in files of `/etc` too.

Groups `[remote "NAME"]`, as libostree keeps them. A file of `remotes.d` holds one or several; a name may be given once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.errors import NotFoundError
from ostler.formats.gvariant import FormatError
from ostler.formats.keyfile import Keyfile
from ostler.formats.refs import validate_remote
from ostler.io.files import atomic_write
from ostler.store.errors import StoreError

if TYPE_CHECKING:
    from ostler.store.repo import Repo

REMOTES_FOLDER = "etc/ostree/remotes.d"
_SYSTEM_REPO = Path("/ostree/repo")
_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Remote:
    """A place to pull from, a `[remote "NAME"]` of the configuration; `options` are its other keys, as written.

    `url` is empty for a remote without one. `file` is the file of `remotes.d` that it comes from, None for the
    repository's own configuration.
    """

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None


def list_remotes(repo: "Repo") -> dict[str, Remote]:
    """The remotes by name, those of the parent repository included; raises `FormatError` and `StoreError`."""
    found = {} if repo.parent is None else list_remotes(repo.parent)
    return found | own_remotes(repo)


def own_remotes(repo: "Repo") -> dict[str, Remote]:
    """The remotes without those of the parent repository."""
    found: dict[str, Remote] = {}
    for keyfile, file in ((repo.config, None), *_files(repo)):
        for group in keyfile.groups:
            name = _name_in(group)
            if name is None:
                continue
            if name in found:
                raise StoreError(
                    f'Multiple specifications found for remote "{name}"', hint=f"one of them is in {file or repo.path}"
                )
            found[name] = _remote(name, keyfile, file)
    return found


def find_remote(repo: "Repo", name: str) -> Remote:
    """The remote of that name; raises `NotFoundError`."""
    found = list_remotes(repo).get(validate_remote(name))
    if found is None:
        raise NotFoundError(f'Remote "{name}" not found', hint=f"add it to the repository {repo.path}")
    return found


def remote_option(repo: "Repo", name: str, key: str, default: str | None = None) -> str | None:
    """A key of a remote (`url` too) as written; if the repository lacks it, that of its parent's remote of that name.

    Raises `NotFoundError` if there is no such remote.
    """
    find_remote(repo, name)
    here: Repo | None = repo
    while here is not None:
        remote = own_remotes(here).get(name)
        value = None if remote is None else {"url": remote.url or None, **remote.options}.get(key)
        if value is not None:
            return value
        here = here.parent
    return default


def remote_url(repo: "Repo", name: str) -> str:
    """The URL of a remote; raises `NotFoundError` if there is no such remote or it has none."""
    url = remote_option(repo, name, "url")
    if url is None:
        raise NotFoundError(f'No "url" option in remote "{name}"')
    return url


def add_remote(
    repo: "Repo",
    name: str,
    url: str | None,
    options: Mapping[str, str] | None = None,
    *,
    if_not_exists: bool = False,
    force: bool = False,
    sysroot: Path | None = None,
) -> Remote:
    """Add a remote; `options` are keys and values as written ({"gpg-verify": "false", "branches": "a;b;"}).

    A URL `metalink=…` becomes the key `metalink`. One that exists is an error, left as it is (`if_not_exists`), or
    replaced where it is (`force`). It goes into a file of `remotes.d` for the system's repository, or if a `sysroot`
    is given, unless `core.add-remotes-config-dir` says otherwise. Raises `StoreError` and `BadRefError`.
    """
    known = list_remotes(repo).get(validate_remote(name))
    if known is not None and if_not_exists:
        return known
    if known is not None and not force:
        raise StoreError(
            f'Remote configuration for "{name}" already exists: {known.file or "(in config)"}',
            hint="delete it first, or have it replaced",
        )
    keys = dict(options or {})
    if url is not None and url.startswith("metalink="):
        keys = {"metalink": url.removeprefix("metalink="), **keys}
    elif url is not None:
        keys = {"url": url, **keys}
    file = known.file if known is not None else _file_for(repo, name, sysroot)
    if file is None:
        repo.write_config(_with_group(repo.config, name, keys))
        return own_remotes(repo)[name]
    keyfile = _read(file) if file.exists() else Keyfile()
    keyfile = _with_group(keyfile, name, keys)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, keyfile.dump().encode())
    return _remote(name, keyfile, file)


def delete_remote(repo: "Repo", name: str, *, if_exists: bool = False) -> bool:
    """Remove a remote and its key ring; False if there is none (`if_exists`), else `NotFoundError` is raised.

    Refs that were pulled from it stay.
    """
    known = own_remotes(repo).get(validate_remote(name))
    if known is None and if_exists:
        return False
    if known is None:
        raise NotFoundError(f'Remote "{name}" not found')
    if known.file is None:
        repo.write_config(repo.config.without(_group(name)))
    else:
        rest = _read(known.file).without(_group(name))
        if rest.groups:
            atomic_write(known.file, rest.dump().encode())
        else:
            known.file.unlink()
    (repo.path / f"{name}.trustedkeys.gpg").unlink(missing_ok=True)
    return True


def system_folder(repo: Path) -> Path | None:
    """The `remotes.d` of the system whose repository is at `repo`; None if that is no system's."""
    try:
        return Path("/", REMOTES_FOLDER) if _SYSTEM_REPO.samefile(repo) else None
    except OSError:
        return None


def _group(name: str) -> str:
    return f'remote "{name}"'


def _name_in(group: str) -> str | None:
    return group[8:-1] if group.startswith('remote "') and group.endswith('"') and len(group) > 9 else None


def _remote(name: str, keyfile: Keyfile, file: Path | None) -> Remote:
    keys = keyfile.groups[_group(name)]
    return Remote(name, keys.get("url", ""), {key: value for key, value in keys.items() if key != "url"}, file)


def _with_group(keyfile: Keyfile, name: str, keys: Mapping[str, str]) -> Keyfile:
    """The group replaced at its place, or added at the end."""
    groups = {group: dict(values) for group, values in keyfile.groups.items()}
    groups[_group(name)] = dict(keys)
    return Keyfile(groups)


def _files(repo: "Repo") -> Iterator[tuple[Keyfile, Path]]:
    folder = repo.remotes_folder
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.glob("*.conf")):
        if path.is_file():
            yield _read(path), path


def _file_for(repo: "Repo", name: str, sysroot: Path | None) -> Path | None:
    folder = repo.remotes_folder if sysroot is None else sysroot / REMOTES_FOLDER
    system = repo.remotes_folder is not None or sysroot is not None
    if folder is None or not repo.config.get_bool("core", "add-remotes-config-dir", system):
        return None
    return folder / f"{name}.conf"


def _read(path: Path) -> Keyfile:
    with open(path, "rb") as file:
        data = file.read(_MAX_FILE)
    try:
        return Keyfile.parse(data.decode())
    except (UnicodeDecodeError, FormatError) as error:
        raise FormatError(f"the file of remotes {path} is malformed: {error}") from error
