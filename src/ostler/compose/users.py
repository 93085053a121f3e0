"""System users and groups keep their numbers from one image to the next.

Packages take "the next free number" when they install, so the same name gets another number once anything changes.
The lock remembers each number; after an installation the names are compared with it and a renumbering is computed,
which is applied to the owners of all files while they enter the store and to the account files themselves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ostler.errors import OstlerError

SYSTEM_IDS = range(999, 99, -1)  # where Debian allocates system accounts, highest first as systemd-sysusers does
FIRST_ALLOCATED = 100  # smaller numbers are fixed by base-passwd(8) and are never changed
NO_AGING = ""  # shadow(5): an empty date of change turns password aging off; the true one would differ each day


class TooManyAccountsError(OstlerError):
    """No number for a system account is left."""


@dataclass(frozen=True, slots=True)
class Renumbering:
    """`moves` maps numbers as installed to numbers as wanted; `ids` is name → number, for all names, afterwards."""

    ids: Mapping[str, int]
    moves: Mapping[int, int] = field(default_factory=dict)

    def apply(self, number: int) -> int:
        """The wanted number for an installed one."""
        return self.moves.get(number, number)


def renumber(installed: Mapping[str, int], locked: Mapping[str, int]) -> Renumbering:
    """How the numbers of `installed` must change so that each name has the number that `locked` says.

    New names keep the number they got unless the lock knows it under another name, installed or not; then they
    get the highest free one. `ids` also holds names that only the lock knows: their numbers stay taken.
    Raises `TooManyAccountsError`.
    """
    wanted: dict[str, int] = {}
    for name, number in installed.items():
        if name in locked:
            wanted[name] = locked[name]
        elif number < FIRST_ALLOCATED or number not in SYSTEM_IDS:
            wanted[name] = number
    taken = {*locked.values(), *wanted.values()}
    for name, number in sorted(installed.items(), key=lambda item: (-item[1], item[0])):
        if name in wanted:
            continue
        chosen = number if number not in taken else next((free for free in SYSTEM_IDS if free not in taken), None)
        if chosen is None:
            raise TooManyAccountsError(
                f"no number between {SYSTEM_IDS[-1]} and {SYSTEM_IDS[0]} is free for the system account {name}",
                hint="remove accounts that no image has any more from [users] and [groups] of ostler.lock",
            )
        wanted[name] = chosen
        taken.add(chosen)
    moves = {number: wanted[name] for name, number in installed.items() if wanted[name] != number}
    return Renumbering(ids=dict(sorted({**locked, **wanted}.items())), moves=moves)


def parse_ids(table: str) -> dict[str, int]:
    """Name → number of a passwd(5) or group(5) file; malformed lines are passed over."""
    ids: dict[str, int] = {}
    for line in table.splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and fields[2].isdecimal():
            ids[fields[0]] = int(fields[2])
    return ids


def rewrite_passwd(text: str, users: Renumbering, groups: Renumbering) -> str:
    """The passwd(5) file with wanted numbers, sorted by number."""
    rows = [line.split(":") for line in text.splitlines() if line]
    for row in rows:
        if len(row) == 7 and row[2].isdecimal() and row[3].isdecimal():
            row[2] = str(users.apply(int(row[2])))
            row[3] = str(groups.apply(int(row[3])))
    return _joined(sorted(rows, key=_number_then_name))


def rewrite_group(text: str, groups: Renumbering) -> str:
    """The group(5) file with wanted numbers, sorted by number."""
    rows = [line.split(":") for line in text.splitlines() if line]
    for row in rows:
        if len(row) == 4 and row[2].isdecimal():
            row[2] = str(groups.apply(int(row[2])))
    return _joined(sorted(rows, key=_number_then_name))


def rewrite_shadow(text: str, order: Iterable[str]) -> str:
    """The shadow(5) or gshadow(5) file in the order of names given, without the dates of the last change."""
    position = {name: index for index, name in enumerate(order)}
    rows = [line.split(":") for line in text.splitlines() if line]
    for row in rows:
        if len(row) == 9:
            row[2] = NO_AGING
    return _joined(sorted(rows, key=lambda row: (position.get(row[0], len(position)), row[0])))


def sysusers(passwd: str, group: str, *, shells: bool = True) -> str:
    """sysusers.d(5) lines for all system accounts, with their numbers.

    They make accounts that an update brings appear on hosts whose /etc/passwd was changed locally.
    """
    lines = []
    group_names = {number: name for name, number in parse_ids(group).items()}
    user_names = set()
    for line in passwd.splitlines():
        row = line.split(":")
        if len(row) != 7 or not row[2].isdecimal() or not _is_system(int(row[2])) or row[2] == "0":
            continue
        user_names.add(row[0])
        primary = group_names.get(int(row[3]), row[3])
        identity = row[2] if primary == row[0] and row[2] == row[3] else f"{row[2]}:{primary}"
        gecos = row[4].replace('"', "") or "-"
        shell = f" {row[6]}" if shells and row[6] else ""
        lines.append(f'u {row[0]} {identity} "{gecos}" {row[5] or "-"}{shell}')
    groups = [f"g {name} {number}" for name, number in parse_ids(group).items() if _is_system(number) and number != 0]
    members = []
    for line in group.splitlines():
        row = line.split(":")
        if len(row) == 4 and row[3]:
            members += [f"m {member} {row[0]}" for member in sorted(row[3].split(",")) if member in user_names]
    return "\n".join([*groups, *lines, *members]) + "\n"


def _is_system(number: int) -> bool:
    return number < 1000


def _number_then_name(row: list[str]) -> tuple[int, str]:
    return (int(row[2]) if len(row) > 2 and row[2].isdecimal() else 1 << 40, row[0])


def _joined(rows: Iterable[list[str]]) -> str:
    return "".join(":".join(row) + "\n" for row in rows)
