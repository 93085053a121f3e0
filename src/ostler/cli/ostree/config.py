"""`ostree config`."""

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, text
from ostler.formats.keyfile import escape, unescape


def run(call: Call) -> None:
    """Print, set or remove a setting."""
    if not call.arguments:
        call.usage_error("OPERATION must be specified")
    operation, *words = call.arguments
    if len(words) > (2 if operation == "set" else 1):
        call.usage_error("Too many arguments given")
    operations = {"get": _get, "set": _set, "unset": _unset}
    if operation not in operations:
        raise Failure(f"Unknown operation {operation}")
    operations[operation](call, words)


def _name(call: Call, words: list[str]) -> tuple[str, str]:
    """(group, key) that the first word, with or without `--group`, names."""
    group = call.text("group")
    if group is not None:
        return group, words[0]
    section, dot, key = words[0].partition(".")
    if not dot:
        raise Failure('Key must be of the form "sectionname.keyname"')
    return section, key


def _get(call: Call, words: list[str]) -> None:
    if not words:
        raise Failure("Group name and key must be specified" if call.text("group") else "KEY must be specified")
    group, key = _name(call, words)
    config = call.repo.config
    if group not in config.groups:
        raise Failure(f"Key file does not have group “{group}”")
    value = config.get(group, key)
    if value is None:
        raise Failure(f"Key file does not have key “{key}” in group “{group}”")
    call.out(unescape(value))


def _set(call: Call, words: list[str]) -> None:
    if len(words) < 2:
        named = call.text("group") is not None
        raise Failure("GROUP name, KEY and VALUE must be specified" if named else "KEY and VALUE must be specified")
    group, key = _name(call, words)
    try:
        "".join((group, key, words[1])).encode()
    except UnicodeEncodeError as error:
        raise Failure("Key file contains characters that are not UTF-8") from error
    call.repo.write_config(call.repo.config.with_value(group, key, escape(words[1])))


def _unset(call: Call, words: list[str]) -> None:
    if not words:
        raise Failure("Group name and key must be specified" if call.text("group") else "KEY must be specified")
    group, key = _name(call, words)
    if call.repo.config.get(group, key) is not None:
        call.repo.write_config(call.repo.config.with_value(group, key, None))


VERB = Verb(run, "(get KEY|set KEY VALUE|unset KEY)", (text("group", "", "The group of the key"),))
