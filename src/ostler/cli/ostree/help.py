"""Help texts, laid out as GLib's GOption does."""

from collections.abc import Mapping

from ostler import __version__
from ostler.cli.ostree.call import Entry, Verb
from ostler.cli.ostree.options import GLOBAL, Option

COMPATIBLE = "2022.7"
"""The release of libostree whose command line this is."""

FEATURES = (
    "libcurl",
    "libsoup",
    "gpgme",
    "sign-ed25519",
    "libarchive",
    "selinux",
    "systemd",
    "release",
)
"""What scripts look for in `ostree --version`, by the names that libostree gives it."""


def verb_help(program: str, purpose: str, verb: Verb) -> str:
    """The help of a verb."""
    usage = f"{program} [OPTION…] {verb.usage}"
    return _help(usage, purpose, verb.all_options)


def group_help(program: str, purpose: str, verbs: Mapping[str, Entry]) -> str:
    """The help of the program (no purpose), or of a verb that has verbs."""
    name = program.rpartition(" ")[2]
    title = f'Builtin "{name}" Commands:' if purpose else "Builtin Commands:"
    lines = [f"  {verb:<18}{entry[0]}" for verb, entry in verbs.items() if entry[0]]
    summary = "\n".join([*((purpose, "") if purpose else ()), title, *lines])
    return _help(f"{program} [OPTION…] COMMAND", summary, GLOBAL)


def _help(usage: str, summary: str, options: tuple[Option, ...]) -> str:
    shown = [(option.shown, option.help) for option in options if not option.hidden]
    width = max(len(name) for name, _ in [*shown, ("-h, --help", "")]) + 5

    def line(name: str, help: str) -> str:
        return f"  {name:<{width}}{help}"

    parts = [
        f"Usage:\n  {usage}",
        summary,
        "Help Options:\n" + line("-h, --help", "Show this help"),
        "Application Options:\n" + "\n".join(line(name, help) for name, help in shown),
    ]
    return "\n\n".join(parts) + "\n\n"


def version() -> str:
    """What `--version` prints: YAML, with the release of libostree whose behaviour this follows."""
    features = "".join(f"  - {feature}\n" for feature in FEATURES)
    return f"libostree:\n Version: '{COMPATIBLE}'\n Ostler: '{__version__}'\n Features:\n{features}"
