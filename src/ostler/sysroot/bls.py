"""Boot entries: one file for each deployment in `/boot/loader/entries`.

Format: the Boot Loader Specification, type 1, with keys in libostree's order. Paths are relative to the boot file
system.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ostler.sysroot.kargs import KernelArguments

_KNOWN = ("title", "version", "options", "devicetree", "linux", "initrd")
_PARTS = re.compile(r"(\d+)|(\D+)")


@dataclass(frozen=True, slots=True)
class BootEntry:
    """One entry. `version` sorts the menu (highest first); `initrds` are loaded in order; `extra` are other keys."""

    title: str = ""
    version: str = ""
    options: KernelArguments = field(default_factory=KernelArguments)
    linux: str = ""
    initrds: tuple[str, ...] = ()
    devicetree: str | None = None
    extra: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def parse(text: str) -> "BootEntry":
        """Read an entry; lines that do not begin with a letter are comments, unknown keys are kept."""
        known: dict[str, str] = {}
        initrds: list[str] = []
        extra: dict[str, str] = {}
        for line in text.split("\n"):
            key, blank, value = line.replace("\t", " ", 1).partition(" ")
            if not line[:1].isascii() or not line[:1].isalpha() or not blank:
                continue
            if key == "initrd":
                initrds.append(value)
            elif key in _KNOWN:
                known[key] = value
            else:
                extra[key] = value
        return BootEntry(
            title=known.get("title", ""),
            version=known.get("version", ""),
            options=KernelArguments.parse(known.get("options", "")),
            linux=known.get("linux", ""),
            initrds=tuple(initrds),
            devicetree=known.get("devicetree"),
            extra=tuple(extra.items()),
        )

    def dump(self) -> str:
        """The file's text."""
        lines = [f"title {self.title}", f"version {self.version}", f"options {self.options.text}"]
        if self.devicetree is not None:
            lines.append(f"devicetree {self.devicetree}")
        lines.append(f"linux {self.linux}")
        lines += [f"initrd {path}" for path in self.initrds]
        lines += [f"{key} {value}" for key, value in self.extra]
        return "".join(line.replace("\n", " ") + "\n" for line in lines)

    @property
    def bootlink(self) -> str | None:
        """The value of `ostree=`: the link, from the root file system's root, to the deployment."""
        values = self.options.values("ostree")
        return values[0] if values else None


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts versions with numbers in them as numbers."""
    return tuple((1, int(digits), "") if digits else (0, 0, text) for digits, text in _PARTS.findall(version))


def sort_entries(entries: Mapping[str, BootEntry]) -> Mapping[str, BootEntry]:
    """Entries by file name, in the order in which they boot: highest version first, those without one last."""
    ordered = sorted(
        entries.items(), key=lambda item: (bool(item[1].version), version_order(item[1].version)), reverse=True
    )
    return MappingProxyType(dict(ordered))


def is_entry_name(name: str) -> bool:
    """Whether a file in the folder of entries is one of ours or libostree's."""
    return name.startswith("ostree-") and name.endswith(".conf")
