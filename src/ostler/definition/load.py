"""Loading a machine folder: every file is read and checked, and everything that is wrong is told at once."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ostler.definition import schema
from ostler.definition.containerfile import check_containerfile
from ostler.definition.context import scan_context
from ostler.definition.document import read_document
from ostler.definition.errors import DefinitionError, Findings, Problem, in_order, nearest
from ostler.definition.keys import read_keys
from ostler.definition.lists import Place, note_contradictions, read_list, read_text
from ostler.definition.model import Boot, Definition, Disk, Item, Mirror, Ownership, Publish, Update
from ostler.definition.names import check_package_name, check_unit_name
from ostler.definition.overlay import Kind, read_rules, resolve_rules, scan_overlay
from ostler.definition.reading import Settings, read_settings
from ostler.definition.signing import read_signing
from ostler.io.progress import Reporter, Warning, silent

SETTINGS = "ostler.toml"
LIST_FILES: Mapping[str, tuple[str, ...]] = {
    "packages": ("install.txt", "remove.txt"),
    "systemd": ("enable.txt", "disable.txt"),
}
_OTHER_NAMES = {"Dockerfile": "Containerfile", "dockerfile": "Containerfile", "containerfile": "Containerfile"}
_FOLDERS = ("packages", "systemd", "overlay", "keys", "signing", "Containerfile")


def load(folder: Path, *, report: Reporter = silent) -> Definition:
    """Read a machine folder. Warnings go to `report` and into the result.

    Raises `DefinitionError` with every problem found; messages name files as `folder` / FILE.
    """
    place = Place(folder.absolute(), folder)
    _require_folder(place)
    findings = Findings()
    settings = _read_settings(place, findings)
    packages = _read_lists(place, "packages", findings)
    units = _read_lists(place, "systemd", findings)
    found = scan_overlay(place, findings)
    rules = _overlay_rules(settings, found, findings)
    keys = read_keys(place, findings)
    signing = read_signing(place, findings)
    containerfile = _containerfile(place, findings)
    context = scan_context(place, findings) if containerfile else ()
    _note_unused(place, findings)
    update = _update(settings, place, findings)
    if not keys and not findings.problems:
        hint = "put your public key (~/.ssh/id_….pub) in keys/root"
        findings.warn(place.show("keys"), None, "no ssh key: nobody will be able to log in over ssh", hint)
    findings.raise_if_any()
    for warning in in_order(findings.warnings):
        report(Warning(str(warning), warning.hint))
    return Definition(
        folder=place.path,
        name=settings.get(schema.NAME),
        base=settings.get(schema.BASE),
        version=settings.get(schema.VERSION),
        mirrors=_mirrors(settings),
        boot=Boot(settings.get(schema.KERNEL), settings.get(schema.KERNEL_ARGUMENTS)),
        disk=Disk(settings.get(schema.SIZE), settings.get(schema.FILESYSTEM)),
        update=update,
        publish=_publish(settings, place, update),
        packages_install=packages[0],
        packages_remove=packages[1],
        units_enable=units[0],
        units_disable=units[1],
        overlay=place.path / "overlay" if found else None,
        overlay_rules=rules,
        keys=keys,
        containerfile=containerfile,
        context=context,
        warnings=in_order(findings.warnings),
        signing=signing,
    )


def _require_folder(place: Place) -> None:
    """Raise unless this is a machine folder at all, so that a wrong directory is not met with a heap of findings."""
    if not place.path.is_dir():
        wrong = "is not a folder" if place.path.exists() else "does not exist"
        raise DefinitionError([Problem(str(place.shown), None, wrong, f"make one with `ostler init {place.shown}`")])
    if (place.path / SETTINGS).exists() or (place.path / SETTINGS).is_symlink():
        return
    names = [path.name for path in place.path.iterdir()]
    close = nearest(SETTINGS, [name for name in names if name.endswith(".toml")])
    hint = "go to a machine folder or name one with -C; `ostler init DIR` makes one"
    if close:
        hint = f"did you mean that by {close}? Rename it"
    raise DefinitionError([Problem(place.show(SETTINGS), None, "does not exist, so this is no machine folder", hint)])


def _read_settings(place: Place, findings: Findings) -> Settings:
    shown = place.show(SETTINGS)
    try:
        document = read_document(place.path / SETTINGS, shown)
    except DefinitionError as error:
        findings.problems.extend(error.problems)
        return Settings()
    except OSError as error:
        findings.error(shown, None, f"cannot be read: {error.strerror}")
        return Settings()
    return read_settings(document.root, findings)


def _read_lists(place: Place, folder: str, findings: Findings) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    check = check_package_name if folder == "packages" else check_unit_name
    wanted, unwanted = (read_list(place, f"{folder}/{name}", check, findings) for name in LIST_FILES[folder])
    note_contradictions(wanted, unwanted, findings)
    return wanted, unwanted


def _overlay_rules(settings: Settings, found: Mapping[str, Kind], findings: Findings) -> Mapping[str, Ownership]:
    return resolve_rules(read_rules(settings.entries.get("overlay", ()), findings), found, findings)


def _containerfile(place: Place, findings: Findings) -> Path | None:
    text = read_text(place, "Containerfile", findings)
    if text is None or not check_containerfile(text, place.show("Containerfile"), findings):
        return None
    return place.path / "Containerfile"


def _mirrors(settings: Settings) -> tuple[Mirror, ...]:
    suite = settings.get(schema.BASE).suite
    return tuple(Mirror(mirror.uri, mirror.suite or suite, mirror.components) for mirror in settings.get(schema.MIRROR))


def _update(settings: Settings, place: Place, findings: Findings) -> Update:
    source = settings.get(schema.FROM)
    url, folder = source, None
    if source is not None and source.startswith("file:"):
        folder = Path(unquote(urlsplit(source).path))
    elif source is not None and not source.startswith(("http:", "https:")):
        folder = place.path / source
        url = "file://" + quote(source) if source.startswith("/") else None
        if url is None:
            node = settings.values.node(schema.FROM)
            hint = 'write the address under which machines reach it: from = "https://updates.example.org/web"'
            message = f'"{source}" is a folder here, which machines cannot update from by themselves'
            findings.warn(place.show(SETTINGS), node.line if node else None, message, hint)
    ref = settings.get(schema.REF) or f"{settings.get(schema.NAME)}/stable"
    return Update(source, url, folder, ref, settings.get(schema.KEEP))


def _publish(settings: Settings, place: Place, update: Update) -> Publish:
    to = settings.get(schema.TO)
    if to is not None and to.startswith(("ssh:", "s3:")):
        return Publish(to, settings.get(schema.ENDPOINT), settings.get(schema.REGION))
    if to is not None and to.startswith("file:"):
        return Publish(Path(unquote(urlsplit(to).path)))
    if to is not None:
        return Publish(place.path / to)
    return Publish(update.folder or place.path / "build" / "www")


def _note_unused(place: Place, findings: Findings) -> None:
    """Warn of files that look as if they should do something, but do nothing."""
    names = sorted(path.name for path in place.path.iterdir())
    for name in names:
        if name.endswith(".bu") or name == "secrets":
            what = "secrets" if name == "secrets" else "first-boot provisioning"
            findings.warn(place.show(name), None, f"nothing uses this yet: {what} comes with a later version of Ostler")
        meant = _OTHER_NAMES.get(name) or next((one for one in _FOLDERS if _mistyped(name, one)), None)
        if meant is not None and meant not in names:
            findings.warn(place.show(name), None, "nothing uses this", f"did you mean {meant}? Rename it")
    for folder, known in LIST_FILES.items():
        if not (place.path / folder).is_dir():
            continue
        for name in sorted(path.name for path in (place.path / folder).iterdir()):
            if name in known or name.startswith((".", "README")) or name.endswith("~"):
                continue
            close = nearest(name, known)
            hint = f"did you mean {folder}/{close}? Rename it" if close else f"read are: {', '.join(known)}"
            findings.warn(place.show(f"{folder}/{name}"), None, "nothing uses this", hint)


def _mistyped(name: str, meant: str) -> bool:
    return name != meant and name.lower().rstrip("s") in (meant.lower(), meant.lower().rstrip("s"))
