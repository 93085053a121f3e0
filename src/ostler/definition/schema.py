"""Every key of `ostler.toml`, once: validation, the JSON schema and the reference page all come from this table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ostler.definition import values
from ostler.definition.document import Node
from ostler.definition.errors import Findings
from ostler.definition.model import Base, Mirror
from ostler.definition.names import MACHINE_NAME, PACKAGE_NAME, USER_NAME

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, eq=False)
class Key(Generic[T_co]):
    """One key: how it is read, what it is worth if absent, and what people are told of it.

    `form` is a fragment of JSON schema, `kind` the same in words; `summary` is one sentence, `details` more of them;
    `default` is shown as `shown_default`, and `example` is a whole line of TOML.
    """

    name: str
    read: Callable[[Node, Findings], T_co | None]
    default: T_co
    kind: str
    summary: str
    example: str
    form: Mapping[str, object]
    shown_default: str = ""
    details: str = ""
    required: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """A table of keys; the one without a name is the top of the file.

    With `entry` the table's own keys are free (`entry` says what they are) and `keys` are those of each entry.
    """

    name: str
    summary: str
    keys: tuple[Key[object], ...]
    entry: str = ""
    details: str = ""

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"[{self.name}]" if self.name else "the top of the file"


NAME: Key[str] = Key(
    name="name",
    read=values.machine_name,
    default="",
    kind="text",
    summary="The machine's name.",
    details="It names the machine's files in `build/`, its place on its disks and, unless `[update] ref` says "
    "otherwise, the ref of its versions. Lower-case letters, digits and `-`, at most 63.",
    example='name = "web"',
    form={"type": "string", "pattern": f"^{MACHINE_NAME}$"},
    required=True,
)
BASE: Key[Base] = Key(
    name="base",
    read=values.base,
    default=Base("debian", "trixie"),
    kind="text",
    summary="What the machine is derived from.",
    details="`debian:trixie` composes Debian 13 from its packages. It is also what `FROM base` in a Containerfile"
    " means.",
    example='base = "debian:trixie"',
    form={"enum": [f"debian:{suite}" for suite in values.SUITES]},
    required=True,
)
VERSION: Key[str | None] = Key(
    name="version",
    read=values.version,
    default=None,
    kind="text",
    summary="What people call this version of the machine.",
    details="Shown by `ostler status` and written into the image and the commit. Letters, digits and `._+~-`, at "
    "most 64.",
    example='version = "2.1"',
    form={"type": "string", "pattern": f"^{values.VERSION}$"},
    shown_default="made from the time in `ostler.lock` and the content",
)
MIRROR: Key[tuple[Mirror, ...]] = Key(
    name="mirror",
    read=values.mirrors,
    default=(),
    kind="text, or a list of texts",
    summary="Where the packages of the base and of the lists come from.",
    details="Each is an address, which means the base's suite and its component `main` there and nothing else, or"
    " an apt source line (`deb URL SUITE COMPONENT…`), by which to name security updates and other "
    "components. Archives are verified with the keys of Debian's keyring on the builder. What is named "
    "here, without passwords, also becomes the machine's own apt source.",
    example="mirror = [\n"
    '  "https://debian.example.org/debian",\n'
    '  "deb https://debian.example.org/debian-security trixie-security main",\n'
    "]",
    form={
        "oneOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}},
        ]
    },
    shown_default="the builder's own apt sources for that suite; if there are none, mmdebstrap's default",
)
KERNEL: Key[str] = Key(
    name="kernel",
    read=values.package_name,
    default="linux-image-amd64",
    kind="text",
    summary="The package that brings the kernel.",
    details="`linux-image-cloud-amd64` is smaller, and has the drivers of virtual machines only.",
    example='kernel = "linux-image-cloud-amd64"',
    form={"type": "string", "pattern": f"^{PACKAGE_NAME}$"},
    shown_default='`"linux-image-amd64"`',
)
KERNEL_ARGUMENTS: Key[tuple[str, ...]] = Key(
    name="kernel-arguments",
    read=values.kernel_arguments,
    default=(),
    kind="a list of texts",
    summary="Arguments that are added to the kernel's command line.",
    details="One argument an element, without blanks and quotes. `root=`, `ostree=`, `initrd=` and `BOOT_IMAGE=` "
    "are set by Ostler or the boot loader and refused here.",
    example='kernel-arguments = ["console=ttyS0"]',
    form={
        "type": "array",
        "items": {"type": "string", "pattern": "^(?!(root|ostree|initrd|BOOT_IMAGE)=)[!#-&(-\\[\\]-~]+$"},
        "uniqueItems": True,
    },
    shown_default="`[]`",
)
SIZE: Key[int | Literal["auto"]] = Key(
    name="size",
    read=values.disk_size,
    default="auto",
    kind="text",
    summary="How large the disk is that `ostler disk` writes.",
    details="`auto` is the content and a margin; on its first boot the root file system grows to the disk that it"
    " is on. A size has a unit: K, M, G, T (or KiB, MiB, GiB, TiB) are powers of 1024, KB, MB, GB, TB "
    "powers of 1000; it is rounded down to whole MiB. Files are sparse: they take the room of their "
    "content only.",
    example='size = "8GiB"',
    form={"type": "string", "pattern": "^(auto|[0-9]+(\\.[0-9]+)? ?[KMGT](i?B)?)$"},
    shown_default='`"auto"`',
)
FILESYSTEM: Key[str] = Key(
    name="filesystem",
    read=values.filesystem,
    default="ext4",
    kind="text",
    summary="The root's file system.",
    example='filesystem = "ext4"',
    form={"enum": list(values.FILESYSTEMS)},
    shown_default='`"ext4"`',
)
FROM: Key[str | None] = Key(
    name="from",
    read=values.update_source,
    default=None,
    kind="text",
    summary="Where a machine gets its updates: the repository that `ostler publish` writes.",
    details="An `http://` or `https://` address of any static web server, a `file://` address, or the path of a "
    "folder (a relative one is taken from this folder; a machine cannot use that by itself). Without it "
    "machines do not look for updates.",
    example='from = "https://updates.example.org/web"',
    form={"type": "string", "minLength": 1},
    shown_default="none",
)
REF: Key[str | None] = Key(
    name="ref",
    read=values.ref,
    default=None,
    kind="text",
    summary="The ref that this machine's versions are published as, and that machines follow.",
    details="Parts of letters, digits and `-._`, separated by `/`, none beginning with `-` or `.`.",
    example='ref = "web/stable"',
    form={"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"},
    shown_default="the name and `/stable`",
)
KEEP: Key[int] = Key(
    name="keep",
    read=values.keep,
    default=2,
    kind="a whole number",
    summary="How many deployments stay on a machine; at least 2, so that there is always one to go back to.",
    example="keep = 3",
    form={"type": "integer", "minimum": 2},
    shown_default="`2`",
)
TO: Key[str | None] = Key(
    name="to",
    read=values.publish_place,
    default=None,
    kind="text",
    summary="Where `ostler publish` writes the repository: a folder, `ssh://USER@HOST/PATH`, or `s3://BUCKET/PREFIX`.",
    details="A relative path is taken from this folder. Behind SSH nothing but `sh` and `tar` is needed, and `ssh` "
    "must get in without asking for a password. For a bucket the access key is taken from the environment "
    "(`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE`, …) or from `~/.aws`.",
    example='to = "/srv/www/web"',
    form={"type": "string", "minLength": 1},
    shown_default='the folder of `[update] from` if that is one, else `"build/www"`',
)
ENDPOINT: Key[str | None] = Key(
    name="endpoint",
    read=values.endpoint,
    default=None,
    kind="text",
    summary="The address of the S3-compatible server that has the bucket of `to`.",
    example='endpoint = "https://s3.example.org"',
    form={"type": "string", "pattern": "^https?://[a-z0-9][a-z0-9.-]*(:[0-9]{1,4})?(/[A-Za-z0-9._~/-]*)?$"},
    shown_default="`AWS_ENDPOINT_URL` or the setting in `~/.aws/config`, else Amazon's",
)
REGION: Key[str | None] = Key(
    name="region",
    read=values.text,
    default=None,
    kind="text",
    summary="The region that the bucket of `to` is in.",
    example='region = "eu-central-1"',
    form={"type": "string", "minLength": 1},
    shown_default="`AWS_REGION` or the setting in `~/.aws/config`, else `us-east-1`",
)
OWNER: Key[str | int | None] = Key(
    name="owner",
    read=values.owner,
    default=None,
    kind="text or a number",
    summary="The user that owns the path: a name in the image, or a number.",
    example='owner = "www-data"',
    form={
        "oneOf": [
            {"type": "string", "pattern": f"^{USER_NAME}$"},
            {"type": "integer", "minimum": 0, "maximum": 2**32 - 2},
        ]
    },
    shown_default='`"root"`',
)
GROUP: Key[str | int | None] = Key(
    name="group",
    read=values.owner,
    default=None,
    kind="text or a number",
    summary="The group of the path: a name in the image, or a number.",
    example='group = "ssl-cert"',
    form=OWNER.form,
    shown_default='`"root"`',
)
MODE: Key[int | None] = Key(
    name="mode",
    read=values.file_mode,
    default=None,
    kind="text",
    summary="Permission bits in octal.",
    details="From a pattern with wildcards only files take it; a directory takes the mode that is given for its "
    "own path. Symbolic links have none.",
    example='mode = "0440"',
    form={"type": "string", "pattern": f"^{values.MODE}$"},
    shown_default="`0755` for directories and executable files, `0644` for the rest",
)

TABLES = (
    Table("", "", (NAME, BASE, VERSION, MIRROR)),
    Table("boot", "The kernel and its command line.", (KERNEL, KERNEL_ARGUMENTS)),
    Table("disk", "The disk that `ostler disk` writes.", (SIZE, FILESYSTEM)),
    Table("update", "Where machines get new versions.", (FROM, REF, KEEP)),
    Table("publish", "Where `ostler publish` puts new versions.", (TO, ENDPOINT, REGION)),
    Table(
        "overlay",
        "Ownership and modes of files in `overlay/` that differ from root, root, 0644 or 0755.",
        (OWNER, GROUP, MODE),
        entry="a path below `overlay/`, or a pattern",
        details="In a pattern `*` stands for any characters but `/`, `?` for one of them, `[…]` for one of a set, and"
        " `**` between slashes or at the end for any number of directories. Where several patterns fit a "
        "path, each value comes from the pattern with most characters that are not wildcards; order does not "
        "matter.",
    ),
)


def all_keys() -> list[tuple[Table, Key[object]]]:
    """Every key with its table, in the order of the reference."""
    return [(table, key) for table in TABLES for key in table.keys]
