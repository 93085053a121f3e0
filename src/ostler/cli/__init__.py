"""The `ostler` command: one file a command group. Only here is anything printed or the environment read."""

from ostler.cli.main import main

__all__ = ["main"]
