"""The files layer: overlay, ssh keys, enabled units, and the few facts about this machine that the image carries."""

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ostler.compose import units
from ostler.compose.cache import Cache
from ostler.compose.debian_files import PRESETS, TOP_LINKS
from ostler.compose.digests import digest_of, folder_digests
from ostler.compose.edit import TreeEditor
from ostler.compose.normalise import enablement
from ostler.compose.users import parse_ids
from ostler.definition.model import Definition, Ownership, Signing
from ostler.errors import ExitCode, OstlerError
from ostler.formats.keyfile import Keyfile
from ostler.formats.objects import Checksum, DirMeta, FileMeta
from ostler.io.files import space_errors
from ostler.io.progress import Reporter, Warning, silent
from ostler.store.ingest import ingest_directory
from ostler.store.layers import diff_layers
from ostler.store.transaction import Transaction
from ostler.store.tree import Directory
from ostler.sysroot.install import REVOKED_UPDATE_KEYS, UPDATE_KEYS

RECIPE_VERSION = 2
DEFAULT_KERNEL_ARGUMENTS = ("rw", "panic=30", "rd.shell=0", "rd.emergency=reboot")
NOTHING_ARRIVES = ("dev", "proc", "sys", "run", "tmp", "media", "boot")  # loading the folder warned of these
PLACEHOLDERS = frozenset({".gitkeep", ".keep"})
SSHD_DROP_IN = "etc/ssh/sshd_config.d/50-ostler.conf"
SSHD_CONFIG = (
    "# Keys in the image come and go with it; keys added on the machine stay there.\n"
    "AuthorizedKeysFile .ssh/authorized_keys /usr/lib/ostler/ssh-keys/%u\n"
    "PermitRootLogin prohibit-password\n"
)


class OverlayError(OstlerError):
    """The overlay or the rules for it ask for something that an image cannot have."""

    exit_code = ExitCode.DEFINITION


def files_inputs(definition: Definition, below: str) -> dict[str, str]:
    """What the layer depends on; `below` identifies all layers below."""
    inputs = {} if definition.overlay is None else folder_digests(definition.overlay, "overlay")
    for path, rule in definition.overlay_rules.items():
        inputs[f"[overlay] of {path}"] = digest_of(asdict(rule))
    for user, lines in definition.keys.items():
        inputs[f"keys/{user}"] = digest_of(list(lines))
    inputs |= {f"enabled {item.name}": "yes" for item in definition.units_enable}
    inputs |= {f"disabled {item.name}": "yes" for item in definition.units_disable}
    inputs["name and version"] = digest_of([definition.name, definition.version])
    inputs["kernel arguments"] = digest_of(list(definition.boot.kernel_arguments))
    inputs["[update]"] = digest_of([definition.update.url, definition.update.ref, definition.update.keep])
    if definition.signing != Signing():
        inputs["signing keys"] = digest_of([list(definition.signing.trusted), list(definition.signing.revoked)])
    inputs["layers below"] = below
    inputs["Ostler's recipe for files"] = str(RECIPE_VERSION)
    return inputs


def make_files(
    cache: Cache,
    definition: Definition,
    below: Directory,
    version: str,
    key: str,
    timestamp: int,
    *,
    report: Reporter = silent,
) -> Checksum:
    """Write the layer on top of `below` and record it under `key`."""
    with space_errors("writing the files layer", cache.root), cache.repo.transaction() as transaction:
        editor = TreeEditor(cache.repo, transaction, below.copy())
        enablement(editor)
        put_overlay(editor, transaction, definition)
        for path, text in machine_files(definition, version).items():
            editor.write(path, text)
        if editor.text("etc/hostname") in (None, ""):
            editor.write("etc/hostname", f"{definition.name}\n")
        _release(editor, definition.name, version)
        _keys(editor, definition, report)
        for remark in units.enable(editor, definition.units_enable):
            report(Warning(remark))
        units.disable(editor, definition.units_disable)
        layer = diff_layers(below, editor.root, transaction)
        return cache.record(transaction, key, layer, {"version": version}, timestamp)


def machine_files(definition: Definition, version: str) -> dict[str, str]:
    """The generated files whose content depends on the definition alone: path → text."""
    arguments = [*DEFAULT_KERNEL_ARGUMENTS, *definition.boot.kernel_arguments]
    update = {"ref": definition.update.ref, "keep": str(definition.update.keep)}
    if definition.update.url is not None:
        update = {"from": definition.update.url, **update}
    return {
        "usr/lib/bootc/kargs.d/20-ostler.toml": f"kargs = {json.dumps(arguments)}\n",
        "usr/lib/ostler/update.conf": Keyfile({"update": update}).dump(),
        SSHD_DROP_IN: SSHD_CONFIG,
        **{place: _joined(keys) for place, keys in _update_keys(definition).items() if keys},
        **PRESETS,
    }


def _update_keys(definition: Definition) -> dict[str, Sequence[str]]:
    return {UPDATE_KEYS: definition.signing.trusted, REVOKED_UPDATE_KEYS: definition.signing.revoked}


def put_overlay(editor: TreeEditor, transaction: Transaction, definition: Definition) -> None:
    """Copy the overlay into the tree. Raises `OverlayError` where it does not fit."""
    if definition.overlay is None:
        return
    passwd, group = editor.text("etc/passwd") or "", editor.text("etc/group") or ""
    owners = _Owners(definition.overlay_rules, parse_ids(passwd), parse_ids(group))
    tree = ingest_directory(transaction, definition.overlay, filter=owners)
    for path, found in tree.walk():
        place = place_of(path)
        if place is None:
            continue
        existing = editor.find(place)
        if isinstance(found, Directory):
            if not isinstance(existing, Directory) or path in definition.overlay_rules:
                meta = found.meta
                editor.make_directory(place, stat.S_IMODE(meta.mode), meta.uid, meta.gid)
        else:
            if isinstance(existing, Directory) and (existing.files or existing.dirs):
                raise OverlayError(
                    f"overlay/{path} is a file, but the image has a directory there", hint="rename one of them"
                )
            editor.put(place, found)


def place_of(path: str) -> str | None:
    """Where a path of the overlay lies in the tree (/root is /var/roothome); None if an image has nothing there."""
    if path.partition("/")[0] in NOTHING_ARRIVES:
        return None
    for top, target in TOP_LINKS.items():
        if path == top or path.startswith(top + "/"):
            return target.removeprefix("../") + path.removeprefix(top)
    return path


class _Owners:
    """The filter for the overlay: root's, 0644 or 0755, unless a rule says otherwise."""

    def __init__(self, rules: Mapping[str, Ownership], users: Mapping[str, int], groups: Mapping[str, int]) -> None:
        self._rules = rules
        self._users = users
        self._groups = groups

    def __call__(self, path: str, meta: FileMeta | DirMeta) -> FileMeta | DirMeta | None:
        if path.rpartition("/")[2] in PLACEHOLDERS:
            return None
        rule = self._rules.get(path, Ownership())
        uid = self._number(path, "owner", rule.owner, self._users)
        gid = self._number(path, "group", rule.group, self._groups)
        if isinstance(meta, DirMeta):
            return DirMeta(uid, gid, stat.S_IFDIR | (0o755 if rule.mode is None else rule.mode))
        if meta.is_symlink:
            return FileMeta(uid, gid, stat.S_IFLNK | 0o777, target=meta.target)
        plain = 0o755 if meta.mode & 0o100 else 0o644
        return FileMeta(uid, gid, stat.S_IFREG | (plain if rule.mode is None else rule.mode))

    def _number(self, path: str, what: str, value: str | int | None, known: Mapping[str, int]) -> int:
        if value is None:
            return 0
        if isinstance(value, int):
            return value
        if value not in known:
            raise OverlayError(
                f"[overlay] of {path}: the image has no {'user' if what == 'owner' else 'group'} `{value}`",
                hint="the package that brings it may be missing in packages/install.txt, or it may be misspelt",
            )
        return known[value]


def _release(editor: TreeEditor, name: str, version: str) -> None:
    """IMAGE_ID and IMAGE_VERSION, of os-release(5)."""
    text = editor.text("usr/lib/os-release") or ""
    kept = [line for line in text.splitlines() if not line.startswith(("IMAGE_ID=", "IMAGE_VERSION="))]
    lines = [*kept, f'IMAGE_ID="{name}"', f'IMAGE_VERSION="{version}"']
    editor.write("usr/lib/os-release", "\n".join(lines) + "\n")


def _keys(editor: TreeEditor, definition: Definition, report: Reporter) -> None:
    users = parse_ids(editor.text("etc/passwd") or "")
    for user, lines in sorted(definition.keys.items()):
        if user not in users:
            report(
                Warning(
                    f"keys/{user}: the image has no user `{user}`, so these keys open nothing",
                    hint=f"make the user with a file overlay/usr/lib/sysusers.d/{user}.conf",
                )
            )
        editor.write(f"usr/lib/ostler/ssh-keys/{user}", _joined(lines))


def _joined(lines: Sequence[str]) -> str:
    return "".join(line + "\n" for line in lines)
