"""A freshly installed Debian tree becomes the tree of an image: layout, ownership of state, and nothing accidental.

One transformation for the base and for the folder's packages; applying it twice changes nothing more. What it does
and why is listed step by step in `normalise`.
"""

import stat
from collections.abc import Callable, Iterator
from posixpath import basename, dirname, relpath

from ostler.compose import debian_files as data
from ostler.compose.edit import TreeEditor
from ostler.compose.users import Renumbering, parse_ids, rewrite_group, rewrite_passwd, rewrite_shadow, sysusers
from ostler.store.tree import Directory

KERNEL_FILES = {"vmlinuz-": "vmlinuz", "config-": "config", "System.map-": "System.map"}
SYSTEM_UNITS = "usr/lib/systemd/system"
USER_UNITS = "usr/lib/systemd/user"


def normalise(tree: TreeEditor, users: Renumbering, groups: Renumbering) -> None:
    """Apply all the rules to `tree`. Owners of files have been renumbered before, while they entered the store."""
    accounts(tree, users, groups)
    databases(tree)
    kernels(tree)
    var_content(tree)
    top_level(tree)
    enablement(tree)
    base_enablement(tree)
    etc_files(tree)
    leftovers(tree)


def accounts(tree: TreeEditor, users: Renumbering, groups: Renumbering) -> None:
    """Account files with wanted numbers and without dates; sysusers.d lines that say the same."""
    passwd = rewrite_passwd(tree.text("etc/passwd") or "", users, groups)
    group = rewrite_group(tree.text("etc/group") or "", groups)
    tree.rewrite("etc/passwd", passwd)
    tree.rewrite("etc/group", group)
    for path, order in (("etc/shadow", passwd), ("etc/gshadow", group)):
        text = tree.text(path)
        if text is not None:
            tree.rewrite(path, rewrite_shadow(text, [line.split(":")[0] for line in order.splitlines()]))
    tree.write(data.GENERATED_SYSUSERS, "# Written when the image was built.\n" + sysusers(passwd, group))


def databases(tree: TreeEditor) -> None:
    """The package tools' databases lie below /usr, with links from where the tools look."""
    for path, home in data.DATABASES.items():
        found = tree.directory(path)
        if found is not None:
            tree.move(path, home)
        if tree.exists(home):
            tree.symlink(path, "../" * path.count("/") + home)
            for name in tree.names(home):
                if name.endswith(data.REMOVED_SUFFIXES_IN_DATABASES) and home != data.DPKG:
                    tree.remove(f"{home}/{name}")
    for name in data.BACKUPS_OF_DPKG:
        tree.remove(f"{data.DPKG}/{name}")


def kernels(tree: TreeEditor) -> None:
    """Kernels lie beside their modules; /boot belongs to the machine and is empty in an image."""
    for name in tree.names("boot"):
        for prefix, plain in KERNEL_FILES.items():
            version = name.removeprefix(prefix)
            if version != name and tree.directory(f"usr/lib/modules/{version}") is not None:
                tree.move(f"boot/{name}", f"usr/lib/modules/{version}/{plain}")
    for directory in tree.names("usr/lib/modules"):
        for dangling in ("build", "source"):
            if tree.target(f"usr/lib/modules/{directory}/{dangling}") is not None:
                tree.remove(f"usr/lib/modules/{directory}/{dangling}")


def var_content(tree: TreeEditor) -> None:
    """/var is the machine's: directories in it become tmpfiles.d lines, files go, a few directories stay for apt."""
    for path in ("root", "home", "opt", "srv", "mnt", "usr/local"):
        _move_into_var(tree, path)
    declared = declared_paths(tree)
    names = {number: name for name, number in parse_ids(tree.text("etc/passwd") or "").items()}
    group_names = {number: name for name, number in parse_ids(tree.text("etc/group") or "").items()}
    # Lines written before stay: directories of the base are not all there again when packages were added.
    lines = {
        line.split()[1]: line for line in (tree.text(data.GENERATED_TMPFILES) or "").splitlines() if line[:1] != "#"
    }
    kept = {path for path, _ in data.KEPT_VAR}
    for path, found in tree.walk("var"):
        where = "/" + path
        if isinstance(found, Directory):
            if where not in declared and where not in lines:
                meta = found.meta
                owner, group = names.get(meta.uid, str(meta.uid)), group_names.get(meta.gid, str(meta.gid))
                lines[where] = f"d {_quoted(where)} {stat.S_IMODE(meta.mode):04o} {owner} {group} - -"
        elif path.startswith(("var/roothome/", "var/usrlocal/", "var/home/", "var/opt/", "var/srv/")):
            _to_factory(tree, path, lines)
    var = Directory(tree.root.meta)
    tree.put_directory("var", var)
    for path, mode in data.KEPT_VAR:
        tree.make_directory(path, mode)
        where = "/" + path
        if path in kept and where not in declared and where not in lines and path.count("/"):
            lines[where] = f"d {where} {mode:04o} root root - -"
    for path, home in data.DATABASES.items():
        if tree.exists(home):
            tree.symlink(path, "../" * path.count("/") + home)
    for path, target in data.KEPT_VAR_LINKS.items():
        tree.symlink(path, target)
    body = "".join(line + "\n" for _, line in sorted(lines.items()))
    tree.write(
        data.GENERATED_TMPFILES, "# What the image's packages expect in /var; written when it was built.\n" + body
    )


def declared_paths(tree: TreeEditor) -> set[str]:
    """Paths that the packages' own tmpfiles.d files, or Ostler's fixed one, make; and those of the links of /var."""
    declared = {"/var", "/var/run", "/var/lock"} | {f"/{path}" for path in data.DATABASES}
    texts = [data.WRITTEN["usr/lib/tmpfiles.d/00-ostler.conf"]]
    for name in tree.names("usr/lib/tmpfiles.d"):
        path = f"usr/lib/tmpfiles.d/{name}"
        if path not in (data.GENERATED_TMPFILES, "usr/lib/tmpfiles.d/home.conf"):
            texts.append(tree.text(path) or "")
    for text in texts:
        for line in text.splitlines():
            words = line.split()
            if len(words) >= 2 and words[0][:1] in "dDqQveL":
                declared.add(words[1].rstrip("/"))
    return declared


def top_level(tree: TreeEditor) -> None:
    """/home, /opt and the like are links into /var; /sysroot and the mount points are empty directories."""
    for path, target in data.TOP_LINKS.items():
        tree.remove(path)
        tree.symlink(path, target)
    for path in data.EMPTIED:
        mode = 0o1777 if path == "tmp" else 0o555 if path in ("proc", "sys") else 0o755
        tree.put_directory(path, Directory(tree.root.meta))
        tree.make_directory(path, mode)
    tree.make_directory("sysroot")
    root = tree.root.meta
    tree.root.meta = type(root)(0, 0, stat.S_IFDIR | 0o755)


def enablement(tree: TreeEditor) -> None:
    """What package scripts or a Containerfile enabled in /etc is enabled below /usr, and so updates with the image."""
    for source, home in (("etc/systemd/system", SYSTEM_UNITS), ("etc/systemd/user", USER_UNITS)):
        for path, target in list(_links(tree, source)):
            relative = path.removeprefix(source + "/")
            unit = basename(target)
            if unit in data.NOT_ENABLED or basename(relative) in data.NOT_ENABLED:
                tree.remove(path)
            elif target == "/dev/null":
                tree.remove(path)
                tree.symlink(f"{home}/{relative}", target)
            elif tree.exists(f"{home}/{unit}"):
                tree.remove(path)
                tree.symlink(f"{home}/{relative}", relpath(f"{home}/{unit}", dirname(f"{home}/{relative}")))
            # else the unit itself lies in /etc or elsewhere: only the link there enables it
        for name in tree.names(source):
            found = tree.directory(f"{source}/{name}")
            if found is not None and not found.files and not found.dirs:
                tree.remove(f"{source}/{name}")


def base_enablement(tree: TreeEditor) -> None:
    """What every machine has enabled, and what systemd itself pulls in but no image-based machine should run."""
    for path, target in data.ENABLED_LINKS.items():
        unit = basename(target)
        if tree.exists(f"{SYSTEM_UNITS}/{unit}"):
            tree.symlink(f"{SYSTEM_UNITS}/{path}", target)
    for path in data.UNWANTED_LINKS:
        tree.remove(path)


def etc_files(tree: TreeEditor) -> None:
    """The files that Ostler adds, and the two settings it changes in files of packages."""
    for path, text in data.WRITTEN.items():
        if path == "etc/locale.conf" and tree.exists(path):
            continue
        tree.write(path, text, 0o444 if path == "etc/machine-id" else 0o644)
    if tree.exists("usr/lib/systemd/systemd-resolved"):
        tree.symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")
    _setting(tree, "etc/default/useradd", "HOME", "/var/home")
    _setting(tree, "etc/adduser.conf", "DHOME", "/var/home")


def leftovers(tree: TreeEditor) -> None:
    """Locks, backups, caches, keys and names of the builder go."""
    for path in data.REMOVED:
        tree.remove(path)
    for name in tree.names("etc/ssh"):
        if name.startswith("ssh_host_"):
            tree.remove(f"etc/ssh/{name}")
    _sort_lines(tree, f"{data.DPKG}/triggers/File")
    if tree.directory(data.DPKG) is not None and not tree.exists(f"{data.DPKG}/triggers/Unincorp"):
        # Without it dpkg takes itself for just upgraded to triggers, and runs all of them.
        tree.write(f"{data.DPKG}/triggers/Unincorp", b"")


def _move_into_var(tree: TreeEditor, path: str) -> None:
    """Merge the real directory `path` into the place in /var that its link will point to."""
    found = tree.directory(path)
    if found is None:
        return
    place = data.TOP_LINKS[path].removeprefix("../")
    for inner, thing in list(tree.walk(path)):
        target = place + inner.removeprefix(path)
        if isinstance(thing, Directory):
            if tree.directory(target) is None:
                meta = thing.meta
                tree.make_directory(target, stat.S_IMODE(meta.mode), meta.uid, meta.gid)
        else:
            tree.put(target, thing)
    tree.remove(path)


def _to_factory(tree: TreeEditor, path: str, lines: dict[str, str]) -> None:
    """A file that packages put into a writable place is copied there by tmpfiles at the first boot."""
    where = "/" + path
    target = tree.target(path)
    if target is not None:
        lines[where] = f"L {_quoted(where)} - - - - {_quoted(target)}"
        return
    factory = f"{data.FACTORY}/{path}"
    found = tree.find(path)
    assert isinstance(found, str)
    tree.put(factory, found)
    lines[where] = f"C {_quoted(where)} - - - - {_quoted('/' + factory)}"


def _links(tree: TreeEditor, directory: str) -> Iterator[tuple[str, str]]:
    for path, found in list(tree.walk(directory)):
        if not isinstance(found, Directory):
            target = tree.target(path)
            if target is not None:
                yield path, target


def _setting(tree: TreeEditor, path: str, name: str, value: str) -> None:
    """Set `name=value` in a file of assignments: in place of an existing or commented-out line, else at the end."""
    text = tree.text(path)
    if text is None:
        return
    lines = text.splitlines()
    wanted = f"{name}={value}"
    is_setting: Callable[[str], bool] = lambda line: line.lstrip("# ").startswith(f"{name}=")  # noqa: E731
    places = [index for index, line in enumerate(lines) if is_setting(line)]
    if places:
        lines[places[0]] = wanted
        lines = [line for index, line in enumerate(lines) if index == places[0] or index not in places]
    else:
        lines.append(wanted)
    tree.rewrite(path, "\n".join(lines) + "\n")


def _sort_lines(tree: TreeEditor, path: str) -> None:
    text = tree.text(path)
    if text is not None:
        tree.rewrite(path, "".join(sorted(text.splitlines(keepends=True))))


def _quoted(path: str) -> str:
    return f'"{path}"' if any(character.isspace() for character in path) else path
