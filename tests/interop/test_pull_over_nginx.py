"""Pulling through a real web server: nginx with TLS, client certificates, passwords, compression and bad upstreams."""

import contextlib
import datetime
import ipaddress
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ostler.io.http import NetworkError
from ostler.store.content import RepoMode
from ostler.store.pull import pull
from ostler.store.pull_options import PullOptions
from ostler.store.repo import Repo

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")

QUIET = {"fsync": "false", "min-free-space-percent": "0"}
QUICK = PullOptions(network_retries=1)


def ostree(*arguments: str | Path) -> str:
    return subprocess.run(["ostree", *map(str, arguments)], capture_output=True, text=True, check=True).stdout.strip()


@dataclass(frozen=True)
class Certificates:
    """A certificate authority, and what it vouches for: the server 127.0.0.1 and one client."""

    authority: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]


def make_certificates(folder: Path) -> Certificates:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def make(
        text: str, issuer: str, signer: ec.EllipticCurvePrivateKey | None, *, authority: bool
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(text))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        made = builder.sign(signer or key, hashes.SHA256())
        certificate, private = folder / f"{text}.crt", folder / f"{text}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private

    authority, key_file = make("authority", "authority", None, authority=True)
    signer = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    return Certificates(
        authority,
        make("server", "authority", signer, authority=False),
        make("client", "authority", signer, authority=False),
    )


@dataclass(frozen=True)
class Nginx:
    """Ports: `plain` http; `tls`; `mutual` wants a client certificate; `private` a password."""

    certificates: Certificates
    plain: int
    tls: int
    mutual: int
    private: int


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    tree = folder / "tree"
    for number in range(300):
        path = tree / f"d{number % 13}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content {number} ".encode() * (number * 7))
    (tree / "link").symlink_to("d1")
    repo = folder / "www"
    ostree(f"--repo={repo}", "init", "--mode=archive")
    ostree(f"--repo={repo}", "commit", "-b", "main", tree)
    ostree(f"--repo={repo}", "summary", "-u")
    return repo


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, published: Path) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("nginx")
    certificates = make_certificates(folder)
    ports = free_ports(4)
    (folder / "passwords").write_text("me:{PLAIN}secret\n")
    tls = f"ssl_certificate {certificates.server[0]}; ssl_certificate_key {certificates.server[1]};"
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; pid {folder}/pid; worker_processes 1; error_log {folder}/error.log;
{"user root;" if Path("/root").owner() == "root" else ""}
events {{ }}
http {{
  access_log {folder}/access.log; client_body_temp_path {folder}/body; {temporary}
  keepalive_requests 50; gzip on; gzip_types *; gzip_min_length 1; root {published};
  server {{ listen 127.0.0.1:{ports[0]}; location /again/ {{ return 302 /objects/; }} }}
  server {{ listen 127.0.0.1:{ports[1]} ssl http2; {tls} }}
  server {{ listen 127.0.0.1:{ports[2]} ssl; {tls} ssl_verify_client on;
            ssl_client_certificate {certificates.authority}; }}
  server {{ listen 127.0.0.1:{ports[3]}; auth_basic "here"; auth_basic_user_file {folder}/passwords; }}
}}
"""
    )
    server = subprocess.Popen(["nginx", "-c", str(config), "-e", str(folder / "error.log")])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", ports[-1]), 1):
                break
            time.sleep(0.02)
        yield Nginx(certificates, *ports)
    finally:
        server.terminate()
        server.wait()


def make_repo(path: Path, mode: RepoMode, url: str, **options: str) -> Repo:
    repo = Repo.create(path, mode, settings=QUIET)
    repo.add_remote("origin", url, {"gpg-verify": "false", **{key.replace("_", "-"): v for key, v in options.items()}})
    return repo


def check(repo: Repo, published: Path) -> None:
    ostree(f"--repo={repo.path}", "fsck")
    listed = [
        ostree(f"--repo={path}", "ls", "-R", "-C", ref)
        for path, ref in ((repo.path, "origin:main"), (published, "main"))
    ]
    assert listed[0] == listed[1]


@pytest.mark.parametrize("mode", list(RepoMode))
def test_a_whole_tree_comes_over_kept_connections(
    tmp_path: Path, published: Path, nginx: Nginx, mode: RepoMode
) -> None:
    """nginx ends each connection after 50 requests: those are replaced."""
    if mode is RepoMode.BARE_USER_ONLY:
        pytest.skip("the tree was not committed for it")
    repo = make_repo(tmp_path / "repo", mode, f"http://127.0.0.1:{nginx.plain}")
    pull(repo, "origin", ["main"])
    check(repo, published)


def test_tls_is_verified_by_the_authority_named(tmp_path: Path, published: Path, nginx: Nginx) -> None:
    url = f"https://127.0.0.1:{nginx.tls}"
    with pytest.raises(NetworkError, match=r"certificate of .* cannot be trusted"):
        pull(make_repo(tmp_path / "a", RepoMode.BARE_USER, url), "origin", ["main"], options=QUICK)
    pull(make_repo(tmp_path / "b", RepoMode.BARE_USER, url, tls_permissive="true"), "origin", ["main"])
    trusting = make_repo(tmp_path / "c", RepoMode.BARE_USER, url, tls_ca_path=str(nginx.certificates.authority))
    pull(trusting, "origin", ["main"])
    check(trusting, published)


def test_a_certificate_for_another_host_is_refused(tmp_path: Path, nginx: Nginx) -> None:
    url = f"https://localhost:{nginx.tls}"
    repo = make_repo(tmp_path / "a", RepoMode.BARE_USER, url, tls_ca_path=str(nginx.certificates.authority))
    with pytest.raises(NetworkError, match="cannot be trusted"):
        pull(repo, "origin", ["main"], options=QUICK)


def test_a_client_certificate_opens_the_door(tmp_path: Path, published: Path, nginx: Nginx) -> None:
    url = f"https://127.0.0.1:{nginx.mutual}"
    authority = str(nginx.certificates.authority)
    with pytest.raises(NetworkError, match="400"):
        pull(
            make_repo(tmp_path / "a", RepoMode.BARE_USER, url, tls_ca_path=authority), "origin", ["main"], options=QUICK
        )
    certificate, key = map(str, nginx.certificates.client)
    repo = make_repo(
        tmp_path / "b",
        RepoMode.BARE_USER,
        url,
        tls_ca_path=authority,
        tls_client_cert_path=certificate,
        tls_client_key_path=key,
    )
    pull(repo, "origin", ["main"])
    check(repo, published)


def test_a_password_in_the_url_opens_the_door(tmp_path: Path, published: Path, nginx: Nginx) -> None:
    with pytest.raises(NetworkError, match="401"):
        pull(
            make_repo(tmp_path / "a", RepoMode.BARE_USER, f"http://me:wrong@127.0.0.1:{nginx.private}"),
            "origin",
            ["main"],
            options=QUICK,
        )
    repo = make_repo(tmp_path / "b", RepoMode.BARE_USER, f"http://me:secret@127.0.0.1:{nginx.private}")
    pull(repo, "origin", ["main"])
    check(repo, published)


def test_a_proxy_carries_it(tmp_path: Path, published: Path, nginx: Nginx) -> None:
    """nginx answers whole URLs too, as a proxy for itself would."""
    repo = make_repo(
        tmp_path / "a", RepoMode.BARE_USER, "http://updates.invalid", proxy=f"http://127.0.0.1:{nginx.plain}"
    )
    pull(repo, "origin", ["main"])
    check(repo, published)


def test_the_summary_is_asked_for_by_its_tag(tmp_path: Path, nginx: Nginx, published: Path) -> None:
    repo = make_repo(tmp_path / "repo", RepoMode.BARE_USER, f"http://127.0.0.1:{nginx.plain}")
    log = Path(str(nginx.certificates.authority.parent / "access.log"))
    pull(repo, "origin", ["main"])
    pull(repo, "origin", ["main"])
    statuses = [line.split()[8] for line in log.read_text().splitlines() if '"GET /summary HTTP' in line]
    assert statuses[-2:] == ["200", "304"]
