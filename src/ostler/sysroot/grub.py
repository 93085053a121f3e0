"""The configuration of GRUB, made from boot entries; and GRUB's environment block.

Debian's GRUB can't read boot entries, so the same menu is written in GRUB's script language, beside the entries. It
keeps to what GRUB 2.12 has in `core.img`: no arithmetic (hence one `if` for each value of a counter), and no names of
functions that could also be commands, since commands win.
"""

import re
from collections.abc import Mapping, Sequence

from ostler.sysroot.bls import BootEntry
from ostler.sysroot.errors import SysrootFormatError

TIMEOUT_SECONDS = 2
TRIES_VARIABLE = "ostler_tries"
MAX_TRIES = 9
GRUBENV_SIZE = 1024
GRUBENV_PATH = "grub/grubenv"
"""Relative to the boot file system, as is `GRUB_LINK`."""
GRUB_LINK = ("grub/grub.cfg", "../loader/grub.cfg")
"""Where GRUB reads its configuration and libostree looks whether GRUB is in use; and the target of that link."""

_HEADER = "# GRUB Environment Block\n"
_SEARCH = re.compile(r"^search --no-floppy --fs-uuid --set=root ([0-9A-Fa-f-]{4,64})$", re.MULTILINE)
_UUID = re.compile(r"[0-9A-Fa-f-]{4,64}")
_SAFE = re.compile(r"[A-Za-z0-9_./:=,+@%^-]+")
_MADE_BY = "# Made by ostler from the boot entries in this folder, and replaced together with them."


def grub_config(entries: Sequence[BootEntry], *, boot_uuid: str | None) -> str:
    """The text of `grub.cfg` for the entries, the first of which boots unless someone chooses or the counter is at 0.

    `boot_uuid` finds the boot file system; without one the file system that GRUB read this file from is used.
    """
    lines = [
        _MADE_BY,
        "if serial --unit=0 --speed=115200; then",
        "  terminal_input serial console",
        "  terminal_output serial console",
        "fi",
    ]
    if boot_uuid is not None:
        if not _UUID.fullmatch(boot_uuid):
            raise SysrootFormatError(f"{boot_uuid!r} is no UUID of a file system")
        lines.append(f"search --no-floppy --fs-uuid --set=root {boot_uuid}")
    lines += [
        "set default=0",
        "set timeout_style=menu",
        f"set timeout={TIMEOUT_SECONDS}",
    ]
    if len(entries) > 1:
        lines.append("set fallback=1")
        lines += _counter()
    for number, entry in enumerate(entries):
        lines += ["", *_menu_entry(number, entry)]
    return "\n".join(lines) + "\n"


def _counter() -> list[str]:
    """Take one off the tries left, if they are counted at all; none left means the second entry."""
    block = f"($root)/{GRUBENV_PATH}"
    lines = [
        f"if [ -s {block} ]; then",
        f"  load_env -f {block} {TRIES_VARIABLE}",
        "fi",
        f'if [ "${{{TRIES_VARIABLE}}}" = "0" ]; then',
        "  set default=1",
        "  set fallback=0",
    ]
    for left in range(1, MAX_TRIES + 1):
        lines += [
            f'elif [ "${{{TRIES_VARIABLE}}}" = "{left}" ]; then',
            f"  set {TRIES_VARIABLE}={left - 1}",
            f"  save_env -f {block} {TRIES_VARIABLE}",
        ]
    return [*lines, "fi"]


def _menu_entry(number: int, entry: BootEntry) -> list[str]:
    lines = [f"menuentry {_quote(entry.title or '(Untitled)')} --class gnu-linux --class os --id ostree-{number} {{"]
    arguments = [_quote(argument.replace('"', "")) for argument in entry.options.items]
    lines.append(" ".join(["  linux", _quote(entry.linux), *arguments]))
    if entry.initrds:
        lines.append(" ".join(["  initrd", *map(_quote, entry.initrds)]))
    if entry.devicetree is not None:
        lines.append(f"  devicetree {_quote(entry.devicetree)}")
    return [*lines, "}"]


def _quote(word: str) -> str:
    """One word of GRUB's script language. (GRUB itself quotes an argument with blanks for the kernel.)"""
    if _SAFE.fullmatch(word):
        return word
    return "'" + word.replace("\n", " ").replace("'", "'\\''") + "'"


def boot_uuid_of(config: str) -> str | None:
    """The UUID of the boot file system that a `grub.cfg` of ours searches for; None for others' files."""
    if not config.startswith(_MADE_BY):
        return None
    match = _SEARCH.search(config)
    return match[1] if match else None


def encode_grubenv(variables: Mapping[str, str] | None = None) -> bytes:
    """An environment block, always `GRUBENV_SIZE` bytes, so that GRUB can rewrite it in place."""
    text = _HEADER
    for name, value in (variables or {}).items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\n" in value:
            raise SysrootFormatError(f"{name!r} with value {value!r} does not fit into GRUB's environment block")
        text += f"{name}={value}\n".replace("\\", "\\\\")
    data = text.encode()
    if len(data) > GRUBENV_SIZE:
        raise SysrootFormatError(f"GRUB's environment block has room for {GRUBENV_SIZE} bytes, not {len(data)}")
    return data.ljust(GRUBENV_SIZE, b"#")


def decode_grubenv(data: bytes) -> dict[str, str]:
    """The variables of an environment block; raises `SysrootFormatError`."""
    if not data.startswith(_HEADER.encode()):
        raise SysrootFormatError("GRUB's environment block does not begin as it must")
    variables = {}
    for line in data.decode("utf-8", "replace").split("\n")[1:]:
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            variables[name] = value.replace("\\\\", "\\")
    return variables
