"""Writes the man pages (docs/man) and the command reference (docs/reference/commands.md) from the command tree.

generate_man.py [--check]      --check: write nothing, fail if a page is stale
"""

import sys
from pathlib import Path

from ostler import __version__
from ostler.cli.tree import Command, Option, commands

DOCS = Path(__file__).parent.parent / "docs"


def roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in escaped.splitlines())


def title(option: Option) -> str:
    if not option.names:
        return option.metavar
    return ", ".join(option.names) + (f" {option.metavar}" if option.metavar else "")


def man_page(command: Command) -> str:
    name = "-".join(command.words)
    lines = [f'.TH {name.upper()} 1 "" "Ostler {__version__}" "Ostler"', ".SH NAME"]
    lines.append(f"{roff(name)} \\- {roff(command.help or command.description)}")
    lines += [".SH SYNOPSIS", roff(command.usage), ".SH DESCRIPTION", roff(command.description)]
    lines.append(".SH OPTIONS")
    for option in command.options:
        lines += [".TP", f"\\fB{roff(title(option))}\\fR", roff(option.help)]
    if command.epilog:
        lines += [".SH EXAMPLES", ".nf", roff(command.epilog), ".fi"]
    below = [f".BR {roff('-'.join((*command.words, child)))} (1)" for child in command.subcommands]
    if below:
        lines += [".SH SEE ALSO", *below]
    return "\n".join(lines) + "\n"


def reference(tree: list[Command]) -> str:
    lines = [
        "# Commands",
        "",
        "Generated from the command line's own help. Exit codes: [exit-codes.md](exit-codes.md).",
        "",
    ]
    for command in tree:
        lines += [f"## {' '.join(command.words)}", "", command.description, "", "```", command.usage, "```", ""]
        lines += [f"- `{title(option)}`: {option.help}" for option in command.options if "-h" not in option.names]
        if command.epilog:
            lines += ["", "```", command.epilog.strip(), "```"]
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    tree = commands()
    wanted = {DOCS / "man" / f"{'-'.join(command.words)}.1": man_page(command) for command in tree}
    wanted[DOCS / "reference" / "commands.md"] = reference(tree)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    surplus = [path for path in (DOCS / "man").glob("*.1") if path not in wanted]
    if "--check" in sys.argv[1:]:
        for path in stale + surplus:
            print(f"stale: {path.relative_to(DOCS.parent)} (run `make docs`)", file=sys.stderr)
        return 1 if stale or surplus else 0
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in surplus:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
