"""Enabling and disabling systemd units in a tree, as `systemctl enable` would, but with links below /usr.

What [Install] says, of systemd.unit(5): WantedBy, RequiredBy, UpheldBy, Alias, Also, DefaultInstance.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from posixpath import basename

from ostler.compose.edit import TreeEditor
from ostler.definition.errors import nearest
from ostler.definition.model import Item
from ostler.errors import ExitCode, OstlerError
from ostler.store.tree import Directory

UNIT_HOME = "usr/lib/systemd/system"
UNIT_PLACES = ("etc/systemd/system", UNIT_HOME)
UNIT_TYPES = ("service", "socket", "target", "timer", "path", "mount", "automount", "swap", "slice", "scope", "device")
LINK_DIRECTORIES = {"wantedby": "wants", "requiredby": "requires", "upheldby": "upholds"}
QUADLETS = ("etc/containers/systemd", "usr/share/containers/systemd")


class UnitError(OstlerError):
    """A unit that a list names does not exist in the image, or cannot be enabled."""

    exit_code = ExitCode.DEFINITION


@dataclass(frozen=True, slots=True)
class Install:
    """The [Install] section of a unit."""

    links: tuple[tuple[str, str], ...] = ()  # ("wants", "multi-user.target")
    aliases: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    default_instance: str | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.links or self.aliases or self.also)


@dataclass(slots=True)
class _Section:
    values: dict[str, list[str]] = field(default_factory=dict)

    def add(self, key: str, value: str) -> None:
        known = self.values.setdefault(key, [])
        if value:
            known += value.split()
        else:
            known.clear()


def parse_install(text: str) -> Install:
    """The [Install] section of a unit file; an empty one if it has none."""
    section = _Section()
    inside = False
    joined = text.replace("\\\n", " ")
    for raw in joined.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            inside = line == "[Install]"
        elif inside and "=" in line:
            key, _, value = line.partition("=")
            section.add(key.strip().lower(), value.strip())
    values = section.values
    links = tuple((kind, target) for key, kind in LINK_DIRECTORIES.items() for target in values.get(key, []))
    instance = values.get("defaultinstance", [])
    return Install(
        links, tuple(values.get("alias", [])), tuple(values.get("also", [])), instance[-1] if instance else None
    )


def enable(tree: TreeEditor, items: Iterable[Item]) -> list[str]:
    """Enable units; returns what the user should know. Raises `UnitError` that names file and line."""
    remarks: list[str] = []
    for item in items:
        name = full_name(item.name)
        install = _enable_one(tree, name, item, set())
        if install.empty:
            remarks.append(f"{item.file}:{item.line}: {name} has no [Install] section, so enabling it does nothing")
    return remarks


def disable(tree: TreeEditor, items: Iterable[Item]) -> None:
    """Remove all links that enable units. Raises `UnitError` for one that does not exist."""
    for item in items:
        name = full_name(item.name)
        file = _find(tree, name, item)
        names = {name, *_install(tree, file).aliases}
        for place in UNIT_PLACES:
            for path, found in list(tree.walk(place)):
                if isinstance(found, Directory) or basename(path) not in names:
                    continue
                target = tree.target(path)
                is_link = target is not None and target != "/dev/null"
                if is_link and (path.count("/") > place.count("/") + 1 or basename(path) != name):
                    tree.remove(path)


def full_name(name: str) -> str:
    """The name with `.service` behind it if it has no type."""
    return name if name.rpartition(".")[2] in UNIT_TYPES and "." in name else f"{name}.service"


def template_of(name: str) -> tuple[str, str] | None:
    """(`foo@.service`, `bar`) of `foo@bar.service`; None for what is no instance or template."""
    stem, at, rest = name.partition("@")
    instance, _, kind = rest.rpartition(".")
    return (f"{stem}@.{kind}", instance) if at else None


def _enable_one(tree: TreeEditor, name: str, item: Item, seen: set[str]) -> Install:
    if name in seen:
        return Install()
    seen.add(name)
    file = _find(tree, name, item)
    install = _install(tree, file)
    unit, instance = name, ""
    template = template_of(name)
    if template is not None:
        instance = template[1] or install.default_instance or ""
        if not instance and not install.empty:
            raise UnitError(
                f"{item.file}:{item.line}: {name} is a template and names no default instance",
                hint=f"write which one: {name.replace('@.', '@INSTANCE.')}",
            )
        unit = template[0].replace("@.", f"@{instance}.")
    for kind, target in install.links:
        tree.symlink(f"{UNIT_HOME}/{_expand(target, unit, instance)}.{kind}/{unit}", _link_target(file, nested=True))
    for alias in install.aliases:
        expanded = _expand(alias, unit, instance)
        if expanded != unit:
            tree.symlink(f"{UNIT_HOME}/{expanded}", _link_target(file, nested=False))
    for other in install.also:
        if full_name(other) != name:
            _enable_one(tree, full_name(_expand(other, unit, instance)), item, seen)
    return install


def _install(tree: TreeEditor, file: str) -> Install:
    texts = [tree.text(file) or ""]
    name = basename(file)
    for place in reversed(UNIT_PLACES):
        for extra in tree.names(f"{place}/{name}.d"):
            if extra.endswith(".conf"):
                texts.append(tree.text(f"{place}/{name}.d/{extra}") or "")
    return parse_install("\n".join(texts))


def _find(tree: TreeEditor, name: str, item: Item) -> str:
    """The path of the unit's file (an instance's template), through alias links."""
    template = template_of(name)
    for candidate in [name, *([template[0]] if template else [])]:
        for place in UNIT_PLACES:
            path = f"{place}/{candidate}"
            target = tree.target(path)
            if target == "/dev/null":
                raise UnitError(
                    f"{item.file}:{item.line}: the unit {name} is masked in the image", hint=f"remove the link {path}"
                )
            if target is not None:
                path = f"{UNIT_HOME}/{basename(target)}"
            if tree.read(path) is not None:
                return path
    raise _unknown(tree, name, item)


def _unknown(tree: TreeEditor, name: str, item: Item) -> UnitError:
    stem = name.rpartition(".")[0]
    for place in QUADLETS:
        for kind in ("container", "pod", "kube"):
            if tree.exists(f"{place}/{stem}.{kind}"):
                return UnitError(
                    f"{item.file}:{item.line}: {name} is made from the quadlet {place}/{stem}.{kind} at each boot",
                    hint="it is enabled by an [Install] section in the quadlet itself, not by this list",
                )
    known = {other for place in UNIT_PLACES for other in tree.names(place) if other.rpartition(".")[2] in UNIT_TYPES}
    close = nearest(name, known)
    return UnitError(
        f"{item.file}:{item.line}: there is no unit {name} in the image"
        + (f"; did you mean `{close}`?" if close else ""),
        hint="is the package that brings it in packages/install.txt?",
    )


def _link_target(file: str, *, nested: bool) -> str:
    if file.startswith(UNIT_HOME + "/"):
        name = file.removeprefix(UNIT_HOME + "/")
        return f"../{name}" if nested else name
    return "/" + file


def _expand(text: str, unit: str, instance: str) -> str:
    """The specifiers that occur in [Install]: %i %I (instance), %n (unit), %N (without type), %p (prefix), %%."""
    stem = unit.rpartition(".")[0]
    values = {"i": instance, "I": instance, "n": unit, "N": stem, "p": stem.partition("@")[0], "%": "%"}
    result, escaped = [], False
    for character in text:
        if escaped:
            result.append(values.get(character, f"%{character}"))
            escaped = False
        elif character == "%":
            escaped = True
        else:
            result.append(character)
    return "".join(result)
