"""List files (`packages/install.txt` and the like): one name a line, `#` comments, blank lines."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ostler.definition.document import decode_text
from ostler.definition.errors import DefinitionError, Findings
from ostler.definition.model import Item
from ostler.definition.names import Complaint

MAX_BYTES = 4 * 1024 * 1024
_COMMENT = re.compile(r"(^|\s)#.*")


@dataclass(frozen=True, slots=True)
class Place:
    """The machine folder as it is found (`path`) and as messages name it (`shown`)."""

    path: Path
    shown: Path

    def show(self, relative: str) -> str:
        """A file of the folder as messages name it."""
        return str(self.shown / relative)


def read_text(place: Place, relative: str, findings: Findings) -> str | None:
    """The text of a file of the folder; None if it is absent, or cannot be read (which is noted)."""
    path, shown = place.path / relative, place.show(relative)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if path.is_symlink():
            findings.error(shown, None, f"is a symbolic link to {path.readlink()}, which does not exist")
        return None
    except NotADirectoryError:
        parent = relative.rpartition("/")[0]
        findings.error(place.show(parent), None, "must be a folder, but is a file")
        return None
    except IsADirectoryError:
        findings.error(shown, None, "must be a file, but is a folder")
        return None
    except OSError as error:
        findings.error(shown, None, f"cannot be read: {error.strerror}", f"try `chmod u+r {shown}`")
        return None
    if len(data) > MAX_BYTES:
        findings.error(shown, None, f"is larger than {MAX_BYTES // 1024 // 1024} MiB")
        return None
    try:
        return decode_text(data, shown).removeprefix("\ufeff")
    except DefinitionError as error:
        findings.problems.extend(error.problems)
        return None


def read_list(
    place: Place, relative: str, check: Callable[[str], Complaint | None], findings: Findings
) -> tuple[Item, ...]:
    """The names in a list file, in its order; a missing file has none. What `check` complains about is noted."""
    text = read_text(place, relative, findings)
    if text is None:
        return ()
    shown = place.show(relative)
    items: dict[str, Item] = {}
    for number, line in enumerate(text.split("\n"), 1):
        name = _COMMENT.sub("", line).strip()
        if not name:
            continue
        complaint = check(name)
        if complaint is not None:
            findings.error(shown, number, complaint.message, complaint.hint)
        elif name in items:
            findings.error(shown, number, f"`{name}` is in the list twice", f"line {items[name].line} has it already")
        else:
            items[name] = Item(name, shown, number)
    return tuple(items.values())


def note_contradictions(wanted: Sequence[Item], unwanted: Sequence[Item], findings: Findings) -> None:
    """Note names that stand in both of two lists that exclude each other."""
    places = {item.name: item for item in wanted}
    for item in unwanted:
        other = places.get(item.name)
        if other is not None:
            message = f"`{item.name}` is also in {other.file}:{other.line}"
            findings.error(item.file, item.line, message, "remove it from one of the two")
