"""Sizes as GLib prints them: in steps of a thousand."""

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


def format_size(count: int) -> str:
    """A number of bytes for people: "118 bytes", "5.0 kB" (with a space that does not break)."""
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    power = min((len(str(count)) - 1) // 3, len(_UNITS))
    return f"{count / 1000**power:.1f}\N{NO-BREAK SPACE}{_UNITS[power - 1]}"
