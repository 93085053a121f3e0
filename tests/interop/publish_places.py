"""Real servers to publish to: an sshd and an S3 server of this test's own, on free ports, without privileges."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import swift_server as openstack
from tests.judges import judge

from ostler.publish.s3_client import S3Client, S3Options
from ostler.publish.sigv4 import Credentials
from ostler.publish.ssh import SshOptions

KEY, SECRET = "TESTKEY", "a test's secret/with+signs"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server does not answer")


@dataclass(frozen=True)
class SshServer:
    """A running sshd: its port, and what a client needs to get in."""

    port: int
    options: SshOptions

    def url(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"


def find_sshd() -> str | None:
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")


@contextmanager
def ssh_server(work: Path) -> Iterator[SshServer]:
    sshd = find_sshd()
    assert sshd is not None
    work.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / name], check=True)
    (work / "authorized_keys").write_text((work / "user.pub").read_text())
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it drops its privileges there
    port = free_port()
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": work / "host",
        "PidFile": work / "pid",
        "AuthorizedKeysFile": work / "authorized_keys",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
    }
    (work / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    client = {
        "IdentityFile": work / "user",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": work / "known_hosts",
        "LogLevel": "ERROR",
    }
    (work / "ssh_config").write_text("".join(f"{key} {value}\n" for key, value in client.items()))
    process = subprocess.Popen([sshd, "-D", "-e", "-f", work / "sshd_config"], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(process, port)
        yield SshServer(port, SshOptions(("-F", str(work / "ssh_config"))))
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class S3Server:
    """A running S3 server with the bucket `updates`."""

    options: S3Options

    def fetch(self, prefix: str, folder: Path) -> None:
        """Make the folder a copy of what is below the prefix, as a web server in front of the bucket would show it."""
        shutil.rmtree(folder, ignore_errors=True)
        client = S3Client("updates", self.options)
        for key in client.list(f"{prefix}/"):
            data = client.get(key)
            assert data is not None
            path = folder / key.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if (folder / "objects").is_dir():
            for empty in ("refs/heads", "refs/remotes", "refs/mirrors", "state", "tmp"):
                (folder / empty).mkdir(parents=True, exist_ok=True)
        client.close()

    def put(self, key: str, data: bytes) -> None:
        client = S3Client("updates", self.options)
        client.put(key, data, {})
        client.close()


def find_rclone() -> str | None:
    """rclone with `serve s3`, which Debian's does not have."""
    found = os.environ.get("OSTLER_RCLONE") or judge("rclone")
    if found is None:
        return None
    helped = subprocess.run([found, "serve", "s3", "--help"], capture_output=True, text=True, check=False)
    return found if helped.returncode == 0 and "--auth-key" in helped.stdout else None


def s3_is_there() -> bool:
    return find_rclone() is not None or openstack.swift_is_there()


@contextmanager
def s3_server(work: Path) -> Iterator[S3Server]:
    with rclone_server(work) if find_rclone() else swift_server(work) as server:
        yield server


@contextmanager
def rclone_server(work: Path) -> Iterator[S3Server]:
    rclone = find_rclone()
    assert rclone is not None
    (work / "updates").mkdir(parents=True)
    port = free_port()
    process = subprocess.Popen(
        [
            *(rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"),
            *("--config", "", str(work)),
        ],
        stderr=(work.parent / "rclone.log").open("wb"),
    )
    try:
        wait_for_port(process, port)
        yield S3Server(S3Options(Credentials(KEY, SECRET), "us-east-1", f"http://127.0.0.1:{port}"))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def swift_server(work: Path) -> Iterator[S3Server]:
    ports = [free_port() for _ in range(4)]
    with openstack.swift(work, ports) as processes:
        for process, port in zip(processes, ports, strict=True):
            wait_for_port(process, port)
        options = S3Options(Credentials(openstack.USER, openstack.SECRET), "us-east-1", f"http://127.0.0.1:{ports[-1]}")
        client = S3Client("updates", options)
        client.put("", b"", {})  # makes the bucket
        client.close()
        yield S3Server(options)
