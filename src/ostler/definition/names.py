"""What names may look like: machines, packages, units, users. Each check returns what is wrong, or None."""

import re
from typing import NamedTuple

from ostler.definition.errors import nearest


class Complaint(NamedTuple):
    """What is wrong with a value, and what to write instead."""

    message: str
    hint: str | None = None


MACHINE_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
PACKAGE_NAME = r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]"  # Debian Policy 5.6.7; a `-` at the end means removal to apt
USER_NAME = r"[a-z_][a-z0-9_-]{0,31}"
UNIT_SUFFIXES = (
    "service", "socket", "timer", "path", "target", "mount", "automount", "swap", "slice", "device", "scope",
)  # fmt: skip
_UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?", re.ASCII)
_MAX_UNIT_NAME = 255  # UNIT_NAME_MAX of systemd, less the final NUL


def check_machine_name(name: str) -> Complaint | None:
    """A machine's name: also the name of its stateroot and the first part of its ref."""
    if re.fullmatch(MACHINE_NAME, name, re.ASCII):
        return None
    better = re.sub(r"[^a-z0-9]+", "-", name.lower())[:63].strip("-")
    hint = "a name has lower-case letters, digits and `-` (not first or last), at most 63"
    if better and better != name:
        hint = f'write "{better}": {hint}'
    return Complaint(f'"{name}" cannot be the name of a machine', hint)


def check_package_name(name: str) -> Complaint | None:
    """One line of a package list, comments and blanks already gone."""
    if re.fullmatch(PACKAGE_NAME, name, re.ASCII):
        return None
    bare = re.split(r"[=:/<>(*\s]", name, maxsplit=1)[0].lower()
    if re.search(r"[=<>(]", name):
        return Complaint(
            f"`{name}` asks for a version", f"write `{bare}`: versions are pinned by ostler.lock, not here"
        )
    words = name.replace(",", " ").split()
    if len(words) > 1:
        return Complaint(f"{len(words)} packages on one line: `{name}`", f"write one a line: {', '.join(words)}")
    shown = f"`{name}` is not the name of a package"
    if "*" in name or "?" in name or name.startswith("~"):
        return Complaint(f"`{name}` is a pattern", "write the full name of each package")
    if "/" in name:
        return Complaint(f"`{name}` asks for a release or names a file", f"write `{bare}`" if bare else "write a name")
    if ":" in name:
        return Complaint(f"`{name}` asks for an architecture", f"write `{bare}`: packages are the machine's own")
    if name.endswith("-") and len(name) > 2:
        return Complaint(
            f"{shown}: it ends with `-`", f"to remove a package write `{name[:-1]}` in packages/remove.txt"
        )
    if re.fullmatch(PACKAGE_NAME, name.lower(), re.ASCII):
        return Complaint(f"{shown}: names are in lower case", f"write `{name.lower()}`")
    if re.fullmatch(PACKAGE_NAME, name.replace("_", "-"), re.ASCII):
        return Complaint(f"{shown}: `_` is not allowed", f"write `{name.replace('_', '-')}`")
    return Complaint(shown, "names have lower-case letters, digits, `+`, `-` and `.`, at least two of them")


def check_unit_name(name: str) -> Complaint | None:
    """One line of a list of systemd units."""
    words = name.replace(",", " ").split()
    if len(words) > 1:
        return Complaint(f"{len(words)} units on one line: `{name}`", f"write one a line: {', '.join(words)}")
    if "/" in name:
        return Complaint(f"`{name}` is a path", f"write the unit's name alone: `{name.rstrip('/').rpartition('/')[2]}`")
    stem, dot, suffix = name.rpartition(".")
    if dot and suffix in UNIT_SUFFIXES:
        if _UNIT_NAME.fullmatch(stem) and len(name) <= _MAX_UNIT_NAME:
            return None
        return Complaint(f"`{name}` is not the name of a unit", "names have letters, digits and `:-_.\\@`")
    close = nearest(suffix, UNIT_SUFFIXES) if dot else None
    better = f"{stem}.{close}" if close else f"{name}.service"
    return Complaint(f"`{name}` has no unit suffix that systemd knows", f"write `{better}`")


def check_user_name(name: str) -> Complaint | None:
    """The name of a user or group in the image."""
    if re.fullmatch(USER_NAME, name, re.ASCII):
        return None
    return Complaint(
        f"`{name}` is not the name of a user or group",
        "names have lower-case letters, digits, `_` and `-`, begin with a letter or `_`, and have at most 32",
    )
