"""Package files: fetching by digest, and small archives of them."""

import hashlib
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from ostler.compose.debs import DebStore, PackageError, control_text
from ostler.definition.lock import Archive, Package
from ostler.errors import CorruptError
from ostler.io.http import HttpStatusError, NetworkError

ARCHIVES = [Archive("main", "http://one", "s"), Archive("security", "http://two", "s")]


def ar_member(name: str, data: bytes) -> bytes:
    return f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)


def make_deb(control: str, compress=lzma.compress, suffix: str = ".xz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("./control")
        info.size = len(control.encode())
        archive.addfile(info, io.BytesIO(control.encode()))
    packed = compress(buffer.getvalue())
    return b"!<arch>\n" + ar_member("debian-binary", b"2.0\n") + ar_member("control.tar" + suffix, packed)


def package_of(data: bytes, name: str = "hello", archive: str = "main") -> Package:
    digest = hashlib.sha256(data).hexdigest()
    return Package(
        name=name,
        version="1:2+b1",
        architecture="amd64",
        sha256=digest,
        size=len(data),
        archive=archive,
        filename=f"pool/{name}_2+b1.deb",
    )


class Server:
    """Answers from a dictionary: URL → bytes, a status, or an error."""

    def __init__(self, answers: dict[str, bytes | int | Exception]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def get(self, url, consume, *, limit, headers=None):
        self.asked.append(url)
        answer = self.answers.get(url, 404)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            raise HttpStatusError("no", status=answer, url=url)
        assert len(answer) <= limit
        return consume(io.BytesIO(answer))


DEB = make_deb("Package: hello\nVersion: 1:2+b1\nDescription: x\n more\n")


def test_the_control_file_is_read(tmp_path: Path):
    for name, data in {"xz": DEB, "plain": make_deb("Package: a\n", bytes, "")}.items():
        (tmp_path / name).write_bytes(data)
    assert control_text(tmp_path / "xz").startswith("Package: hello\n")
    assert control_text(tmp_path / "plain") == "Package: a\n"


def test_something_else_is_no_package(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(CorruptError):
        control_text(tmp_path / "x")


def test_a_package_comes_from_the_archive_it_was_locked_from_and_only_once(tmp_path: Path):
    package = package_of(DEB, archive="security")
    server = Server({"http://two/pool/hello_2+b1.deb": DEB})
    store = DebStore(tmp_path)
    store.fetch([package], ARCHIVES, server)
    store.fetch([package], ARCHIVES, server)
    assert server.asked == ["http://two/pool/hello_2+b1.deb"]
    assert store.path(package).read_bytes() == DEB


def test_another_archive_is_tried(tmp_path: Path):
    package = package_of(DEB)
    DebStore(tmp_path).fetch([package], ARCHIVES, Server({"http://two/pool/hello_2+b1.deb": DEB}))


def test_packages_that_cannot_be_had_are_listed_with_reasons(tmp_path: Path):
    gone, changed, good = package_of(DEB, "gone"), package_of(DEB, "changed"), package_of(DEB)
    other = bytes(len(DEB))
    server = Server({"http://one/pool/changed_2+b1.deb": other, "http://one/pool/hello_2+b1.deb": DEB})
    store = DebStore(tmp_path)
    with pytest.raises(PackageError) as caught:
        store.fetch([gone, changed], ARCHIVES, server)
    assert "gone 1:2+b1: http://one says 404; http://two says 404" in caught.value.message
    assert "changed 1:2+b1: http://one has other bytes under its name" in caught.value.message
    assert "ostler lock --update" in (caught.value.hint or "")
    assert not store.has(gone)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    store.fetch([good], ARCHIVES, server)


def test_no_network_is_told_as_such(tmp_path: Path):
    package = package_of(DEB)
    down = NetworkError("down")
    server = Server({f"http://{host}/pool/hello_2+b1.deb": down for host in ("one", "two")})
    with pytest.raises(NetworkError):
        DebStore(tmp_path).fetch([package], ARCHIVES, server)


def test_local_archives_need_no_fetcher(tmp_path: Path):
    (tmp_path / "mirror" / "pool").mkdir(parents=True)
    (tmp_path / "mirror" / "pool" / "hello_2+b1.deb").write_bytes(DEB)
    package = package_of(DEB)
    store = DebStore(tmp_path / "debs")
    store.fetch([package], [Archive("main", f"file://{tmp_path}/mirror", "s")], Server({}))
    assert store.has(package)


def test_a_local_archive_lists_exactly_its_packages(tmp_path: Path):
    package = package_of(DEB)
    store = DebStore(tmp_path / "debs")
    store.fetch([package], ARCHIVES, Server({"http://one/pool/hello_2+b1.deb": DEB}))
    store.write_archive([package], tmp_path / "archive")
    text = (tmp_path / "archive" / "Packages").read_text()
    assert text.startswith("Package: hello\n")
    name = text.partition("Filename: ./")[2].splitlines()[0]
    assert (tmp_path / "archive" / name).read_bytes() == DEB
    assert f"SHA256: {package.sha256}" in text
    assert "Status: install ok installed" in store.status([package])
