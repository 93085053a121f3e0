"""The machine folder that `ostler init` makes: commented, with examples, and buildable as it stands."""

from pathlib import Path

from ostler.definition.errors import DefinitionError, Problem
from ostler.definition.keys import check_key_line
from ostler.definition.names import check_machine_name

SETTINGS = """\
# The machine "NAME". Every key is described in Ostler's reference, docs/reference/ostler-toml.md.
# Only name and base must be here; lines that begin with # are examples.

name = "NAME"
base = "debian:trixie"
# version = "1.0"

# Where packages come from; without this, from where this computer's own apt gets them.
# mirror = [
#   "https://debian.example.org/debian",
#   "deb https://debian.example.org/debian-security trixie-security main",
# ]

[boot]
# The smaller kernel for virtual machines:
# kernel = "linux-image-cloud-amd64"
# Messages go to the screen and to the first serial port, which is the console of most virtual machines.
kernel-arguments = ["console=tty0", "console=ttyS0"]

[disk]
# As small as the content; on its first boot the machine grows to the disk that it is on.
size = "auto"

[update]
# Where machines look for new versions: the address of the folder that `ostler publish` writes.
# from = "https://updates.example.org/NAME"
# ref = "NAME/stable"
# keep = 2

[publish]
# Where `ostler publish` writes: a folder, "ssh://USER@HOST/PATH" or "s3://BUCKET/PREFIX". Any web server can serve it.
# to = "build/www"
# For a bucket that is not Amazon's; the credentials are read from the environment or ~/.aws/credentials.
# endpoint = "https://s3.example.org"
# region = "us-east-1"

[overlay]
# Files in overlay/ belong to root and have mode 0644, or 0755 if they are executable. Exceptions:
# "etc/sudoers.d/*" = { mode = "0440" }
"""

FILES: dict[str, str] = {
    "packages/install.txt": """\
# Debian packages to install, one name a line. Their exact versions are pinned in ostler.lock.
# nginx
""",
    "packages/remove.txt": """\
# Packages of the base to remove, one name a line.
""",
    "systemd/enable.txt": """\
# systemd units to enable, one a line, with their suffix.
# nginx.service
""",
    "systemd/disable.txt": """\
# systemd units that packages enable and that should stay off, one a line.
# apt-daily.timer
""",
    "overlay/etc/motd": """\
This is NAME, an image-based machine: /usr changes by updates only, /etc and /var are yours.
`ostler status` shows which version runs.
""",
    ".gitignore": """\
/build/
""",
}
KEY_HEADER = """\
# ssh public keys of the user that this file is named for, one a line. They are updated with the image.
"""


def new_folder(path: Path, name: str, ssh_public_key: str | None) -> list[Path]:
    """Make a machine folder named `name` at `path`; returns the files written, in order.

    `ssh_public_key` (one or more lines) becomes root's. Raises `DefinitionError`, with nothing written, if the folder
    exists and has files, or if the name or the key cannot be used.
    """
    _check(path, name, ssh_public_key)
    texts = {relative: text.replace("NAME", name) for relative, text in {"ostler.toml": SETTINGS, **FILES}.items()}
    if ssh_public_key is not None:
        texts["keys/root"] = KEY_HEADER + ssh_public_key.strip() + "\n"
    written: list[Path] = []
    made: list[Path] = []
    try:
        for relative, text in texts.items():
            file = path / relative
            for folder in reversed([parent for parent in (file.parent, *file.parent.parents) if not parent.exists()]):
                folder.mkdir()
                made.append(folder)
            written.append(file)
            file.write_text(text, encoding="utf-8")
    except BaseException:
        for file in written:
            file.unlink(missing_ok=True)
        for folder in reversed(made):
            folder.rmdir()
        raise
    return written


def _check(path: Path, name: str, ssh_public_key: str | None) -> None:
    wrong = check_machine_name(name)
    if wrong is not None:
        raise DefinitionError([Problem(str(path), None, wrong.message, f"{wrong.hint}; --name gives another")])
    if path.exists() and not path.is_dir():
        raise DefinitionError([Problem(str(path), None, "exists and is not a folder", "choose another name")])
    if path.is_dir() and any(path.iterdir()):
        hint = "choose a new folder, or an empty one"
        if (path / "ostler.toml").exists():
            hint = "it is a machine folder already: `ostler build` there builds it"
        raise DefinitionError([Problem(str(path), None, "exists and has files in it; nothing was written", hint)])
    for number, line in enumerate((ssh_public_key or "").splitlines(), 1):
        complaint = check_key_line(line.strip()) if line.strip() and not line.startswith("#") else None
        if complaint is not None:
            raise DefinitionError([Problem("the ssh public key", number, complaint.message, complaint.hint)])
