"""Package files: fetched by the lock, kept by their digest, and laid out as a small archive that apt can read."""

import hashlib
import io
import lzma
import os
import shutil
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from ostler.definition.lock import Archive, Package
from ostler.errors import CorruptError, ExitCode, OstlerError
from ostler.io.files import space_errors
from ostler.io.http import Body, Fetcher, HttpStatusError, NetworkError
from ostler.io.process import run
from ostler.io.progress import Progress, Reporter, silent

CONNECTIONS = 8
AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60
MAX_CONTROL = 16 * 1024 * 1024
SHOWN = 20


class PackageError(OstlerError):
    """Packages that were asked for cannot be had, or do not fit together."""

    exit_code = ExitCode.PACKAGES


class DebStore:
    """Package files below `root`, each under its SHA-256."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, package: Package) -> Path:
        """Where the package's file is or would be."""
        return self.root / package.sha256[:2] / f"{package.sha256}.deb"

    def has(self, package: Package) -> bool:
        """Whether the file is there with the right size (its digest was checked when it came)."""
        try:
            return self.path(package).stat().st_size == package.size
        except OSError:
            return False

    def fetch(
        self,
        packages: Sequence[Package],
        archives: Sequence[Archive],
        fetcher: Fetcher,
        *,
        report: Reporter = silent,
    ) -> None:
        """Get the files that lack, several at a time, each from the first archive that has it.

        Raises `PackageError` that lists the packages that no archive has (or has with other bytes), and
        `NetworkError` if no archive could be reached.
        """
        absent = self.missing(packages, archives, fetcher, report=report)
        if not absent:
            return
        lines = [f"  {package.name} {package.version}: {reason}" for package, reason in absent[:SHOWN]]
        if len(absent) > SHOWN:
            lines.append(f"  and {len(absent) - SHOWN} more")
        what = "a package of the lock" if len(absent) == 1 else f"{len(absent)} packages of the lock"
        raise PackageError(
            f"{what} can't be had any more:\n" + "\n".join(lines),
            hint="`ostler lock --update` takes what the archives have now and shows what changes",
        )

    def missing(
        self,
        packages: Sequence[Package],
        archives: Sequence[Archive],
        fetcher: Fetcher,
        *,
        report: Reporter = silent,
    ) -> list[tuple[Package, str]]:
        """Like `fetch`, but returns the packages that cannot be had, with the reasons, instead of raising."""
        wanted = [package for package in packages if not self.has(package)]
        if not wanted:
            return []
        total = sum(package.size for package in wanted)
        done = 0
        lock = threading.Lock()
        failed: list[tuple[Package, str]] = []
        stop = threading.Event()

        def one(package: Package) -> None:
            nonlocal done
            if stop.is_set():
                return
            try:
                reason = self._get(package, archives, fetcher)
            except BaseException:
                stop.set()
                raise
            with lock:
                done += package.size
                if reason is not None:
                    failed.append((package, reason))
                report(Progress("fetching packages", done, total))

        with space_errors("fetching packages", self.root), ThreadPoolExecutor(CONNECTIONS) as pool:
            # The largest first: none of them is then the one that everything waits for.
            for result in [pool.submit(one, package) for package in sorted(wanted, key=lambda p: -p.size)]:
                result.result()
        return sorted(failed, key=lambda item: item[0].name)

    def _get(self, package: Package, archives: Sequence[Archive], fetcher: Fetcher) -> str | None:
        """Fetch one package; None, or why it cannot be had."""
        target = self.path(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        reasons: list[str] = []
        unreachable: NetworkError | None = None
        for uri in _uris(package, archives):
            url = f"{uri}/{quote(package.filename, safe='/+~:')}"
            temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
            try:
                digest = _fetch_into(url, temporary, package.size, fetcher)
                if digest == package.sha256:
                    temporary.rename(target)
                    return None
                reasons.append(f"{uri} has other bytes under its name")
            except HttpStatusError as error:
                reasons.append(f"{uri} says {error.status}")
            except FileNotFoundError:
                reasons.append(f"{uri} does not have it")
            except NetworkError as error:
                unreachable = unreachable or error
            finally:
                temporary.unlink(missing_ok=True)
        if not reasons and unreachable is not None:
            raise unreachable
        return "; ".join(reasons) if reasons else "no archive is known that had it"

    def write_archive(self, packages: Iterable[Package], folder: Path) -> None:
        """Lay out a flat archive of exactly these packages in `folder`: files (hard links) and `Packages`."""
        folder.mkdir(parents=True, exist_ok=True)
        stanzas = []
        for package in sorted(packages, key=lambda p: (p.name, p.version, p.architecture)):
            source = self.path(package)
            name = f"{package.name}_{package.sha256[:16]}.deb"
            try:
                os.link(source, folder / name)
            except OSError:
                shutil.copyfile(source, folder / name)
            stanzas.append(
                f"{self.control(package)}\nFilename: ./{name}\nSize: {package.size}\nSHA256: {package.sha256}\n"
            )
        (folder / "Packages").write_text("\n".join(stanzas), "utf-8")

    def control(self, package: Package) -> str:
        """The package's control stanza, without an empty line at its end."""
        return control_text(self.path(package)).strip("\n")

    def status(self, packages: Iterable[Package]) -> str:
        """A dpkg status file in which exactly these packages are installed."""
        return "".join(f"{self.control(p)}\nStatus: install ok installed\n\n" for p in packages)


def _uris(package: Package, archives: Sequence[Archive]) -> list[str]:
    """Where the package may be: the archive it was locked from first."""
    named = [archive.uri for archive in archives if archive.name == package.archive]
    return list(dict.fromkeys([*named, *(archive.uri for archive in archives)]))


def _fetch_into(url: str, target: Path, size: int, fetcher: Fetcher) -> str:
    """Write what `url` has to `target`; the SHA-256 of it. Raises `NetworkError` or `FileNotFoundError`."""
    parts = urlsplit(url)
    if parts.scheme in ("file", "copy"):
        with open(unquote(parts.path), "rb") as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
        with open(target, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def consume(body: Body) -> str:
        digest = hashlib.sha256()
        with open(target, "wb") as out:
            while chunk := body.read(256 * 1024):
                digest.update(chunk)
                out.write(chunk)
        return digest.hexdigest()

    return fetcher.get(url, consume, limit=max(size, 1))


def control_text(deb: Path) -> str:
    """The control file of a binary package (deb(5)). Raises `CorruptError`."""
    members = dict(_ar_members(deb))
    for name, unpack in _UNPACKERS.items():
        if name in members:
            return _control_of_tar(deb, unpack(members[name]))
    return run(["dpkg-deb", "--field", deb]).text


def _gunzip(data: bytes) -> bytes:
    return zlib.decompress(data, wbits=31)


_UNPACKERS: dict[str, Callable[[bytes], bytes]] = {
    "control.tar.xz": lzma.decompress,
    "control.tar.gz": _gunzip,
    "control.tar": bytes,
}


def _ar_members(deb: Path) -> Iterable[tuple[str, bytes]]:
    """The members of the package up to and including the control archive."""
    with open(deb, "rb") as file:
        if file.read(len(AR_MAGIC)) != AR_MAGIC:
            raise CorruptError(f"{deb} is no Debian package", hint="remove it and run the same command again")
        while len(header := file.read(AR_HEADER)) == AR_HEADER:
            name = header[:16].decode("ascii", "replace").strip().rstrip("/")
            length = header[48:58].strip()
            if not length.isdigit() or int(length) > MAX_CONTROL:
                return
            yield name, file.read(int(length))
            if name.startswith("control.tar"):
                return
            if int(length) % 2:
                file.read(1)


def _control_of_tar(deb: Path, data: bytes) -> str:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if member.name in ("control", "./control"):
                    file = archive.extractfile(member)
                    assert file is not None
                    return file.read(MAX_CONTROL).decode("utf-8", "replace")
    except tarfile.TarError as error:
        raise CorruptError(f"{deb} has a broken control archive: {error}") from error
    raise CorruptError(f"{deb} has no control file")


def by_identity(packages: Iterable[Package]) -> Mapping[tuple[str, str, str], Package]:
    """Packages by (name, version, architecture)."""
    return {(package.name, package.version, package.architecture): package for package in packages}
