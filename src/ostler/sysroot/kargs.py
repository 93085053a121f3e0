"""Kernel arguments as an ordered list in which keys may repeat, and the arguments that images ask for.

Replacing and splitting follow libostree; `usr/lib/bootc/kargs.d/*.toml` and applying the difference of two images
follow bootc.
"""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ostler.sysroot.errors import SysrootError
from ostler.sysroot.view import TreeView

KARGS_FOLDER = "usr/lib/bootc/kargs.d"
_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class KernelArguments:
    """Arguments in order, each `key` or `key=value`; a value with blanks is in double quotes."""

    items: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str) -> "KernelArguments":
        """Split at blanks outside double quotes."""
        items, current, quoted = [], "", False
        for char in text:
            if char == '"':
                quoted = not quoted
            if char in " \t\n" and not quoted:
                if current:
                    items.append(current)
                current = ""
            else:
                current += char
        return KernelArguments((*items, current) if current else tuple(items))

    @property
    def text(self) -> str:
        """The arguments in one line."""
        return " ".join(self.items)

    def values(self, key: str) -> tuple[str, ...]:
        """The values of every `key=…`."""
        return tuple(item.partition("=")[2] for item in self.items if item.partition("=")[0] == key and "=" in item)

    def append(self, arguments: Iterable[str]) -> "KernelArguments":
        """With the arguments behind the others."""
        return KernelArguments((*self.items, *arguments))

    def append_missing(self, arguments: Iterable[str]) -> "KernelArguments":
        """With those of the arguments behind the others that are not there in just that form."""
        result = self
        for argument in arguments:
            if argument not in result.items:
                result = result.append((argument,))
        return result

    def replace(self, argument: str) -> "KernelArguments":
        """With `argument` in place of the first of its key, the others of that key gone; else behind the others."""
        key = argument.partition("=")[0]
        result: list[str] = []
        placed = False
        for item in self.items:
            if item.partition("=")[0] != key:
                result.append(item)
            elif not placed:
                result.append(argument)
                placed = True
        return KernelArguments(tuple(result) if placed else (*result, argument))

    def without_key(self, key: str) -> "KernelArguments":
        """Without all arguments of the key."""
        return KernelArguments(tuple(item for item in self.items if item.partition("=")[0] != key))

    def without(self, arguments: Iterable[str]) -> "KernelArguments":
        """Without the first that equals each of the arguments."""
        left = list(self.items)
        for argument in arguments:
            if argument in left:
                left.remove(argument)
        return KernelArguments(tuple(left))


def image_arguments(tree: TreeView, architecture: str | None = None) -> tuple[str, ...]:
    """The kernel arguments that an image asks for, from its `kargs.d`, files in the order of their names.

    `architecture` is in Rust's and the kernel's form ("x86_64", "aarch64"); None means this machine's. Raises
    `SysrootError` naming a file that is malformed.
    """
    names = [name for name in tree.names(KARGS_FOLDER) if name.endswith(".toml")]
    if not names:
        return ()
    import tomllib

    machine = architecture or platform.machine()
    found: list[str] = []
    for name in names:
        path = f"{KARGS_FOLDER}/{name}"
        try:
            document = tomllib.loads(tree.read(path, _MAX_FILE).decode())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SysrootError(f"/{path} of the image is malformed: {error}") from error
        kargs, machines = document.get("kargs", []), document.get("match-architectures")
        unknown = set(document) - {"kargs", "match-architectures"}
        if unknown or not _strings(kargs) or not (machines is None or _strings(machines)):
            raise SysrootError(
                f"/{path} of the image is malformed",
                hint='it may have the keys `kargs = ["…"]` and `match-architectures = ["x86_64"]` only',
            )
        if machines is None or machine in machines:
            found += kargs
    return tuple(found)


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def apply_image_change(current: KernelArguments, old: Sequence[str], new: Sequence[str]) -> KernelArguments:
    """`current` for another image: what only the old one asked for goes, what only the new one asks for comes.

    Arguments that a person added or that both images ask for stay as they are.
    """
    gone = [item for item in old if item not in new]
    come = [item for item in new if item not in old]
    return current.without(gone).append_missing(come)
