"""`ostler completion`: scripts that complete commands and options in bash, zsh and fish."""

import argparse

from ostler.cli.console import Console
from ostler.errors import ExitCode


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        parents=[common],
        help="print a completion script for a shell",
        epilog="examples:\n  ostler completion bash > ~/.local/share/bash-completion/completions/ostler\n"
        "  ostler completion zsh > ~/.zfunc/_ostler\n  ostler completion fish > ~/.config/fish/completions/ostler.fish",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    parser.set_defaults(handler=completion)


def completion(options: argparse.Namespace, console: Console) -> int:
    """Print the script."""
    scripts = {"bash": bash, "zsh": zsh, "fish": fish}
    console.out(scripts[options.shell]())
    return ExitCode.OK


def _words() -> dict[str, list[str]]:
    """For each command path ("repo ls"), the words that may come next."""
    from ostler.cli.tree import commands

    return {
        " ".join(command.words[1:]): [
            *command.subcommands,
            *(choice for option in command.options if not option.names for choice in option.choices),
            *(name for option in command.options for name in option.names if name.startswith("--")),
        ]
        for command in commands()
    }


def bash() -> str:
    """A bash script that looks the words typed so far up in a table, and completes file names besides."""
    cases = "\n".join(f'    "{path}") words="{" ".join(words)}" ;;' for path, words in _words().items())
    return f"""\
_ostler() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in -*) ;; *) path="${{path:+$path }}$word" ;; esac
  done
  while :; do
    case "$path" in
{cases}
    esac
    [ -n "$words" ] || [ -z "$path" ] && break
    case "$path" in *" "*) path="${{path% *}}" ;; *) path="" ;; esac
  done
  COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
}}
complete -o filenames -F _ostler ostler"""


def zsh() -> str:
    """The bash script through zsh's compatibility layer."""
    return "#compdef ostler\nautoload -U +X bashcompinit && bashcompinit\n" + bash()


def fish() -> str:
    """One `complete` line a command and option, with the help texts."""
    from ostler.cli.tree import commands

    lines = ["complete -c ostler -f"]
    for command in commands():
        path = command.words[1:]
        seen = " and ".join(f"__fish_seen_subcommand_from {word}" for word in path) or "__fish_use_subcommand"
        for other in commands():
            if other.words[:-1] == command.words:
                lines.append(f"complete -c ostler -n '{seen}' -a {other.words[-1]} -d '{_quote(other.help)}'")
        for option in command.options:
            for name in option.names:
                if name.startswith("--"):
                    lines.append(f"complete -c ostler -n '{seen}' -l {name[2:]} -d '{_quote(option.help)}'")
    return "\n".join(lines)


def _quote(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
