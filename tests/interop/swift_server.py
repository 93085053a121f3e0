"""OpenStack Swift with its S3 face on free ports: a real object store, which checks every signature.

It needs Debian's packages swift-proxy, swift-account, swift-container and swift-object: unpacked in the folder that the
variable OSTLER_SWIFT names, or by scripts/setup-judges, or installed.
Run as a program it is one of the servers: swift_server.py WORK KIND.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON = "/usr/bin/python3"
KINDS = ("account", "container", "object", "proxy")
USER, SECRET = "test:tester", "secret/with+signs"

RINGS = """
import sys
from swift.common.ring.builder import RingBuilder
folder, *ports = sys.argv[1:]
for kind, port in zip(("account", "container", "object"), ports):
    builder = RingBuilder(2, 1, 0)
    place = {"ip": "127.0.0.1", "port": int(port), "device": "d1"}
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, **place})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{kind}.ring.gz")
"""

STORAGE = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {work}
devices = {work}/devices
mount_check = false
workers = 0
fallocate_reserve = 0
disable_fallocate = true
log_level = ERROR

[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
"""

PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {work}
workers = 0
log_level = ERROR

[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
sorting_method = shuffle

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1

[filter:listing_formats]
use = egg:swift#listing_formats

[filter:s3api]
use = egg:swift#s3api
location = us-east-1

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
"""


def environment() -> dict[str, str]:
    found = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    unpacked = os.environ.get("OSTLER_SWIFT") or str(Path(__file__).parent.parent.parent / "build/judges/swift")
    if Path(unpacked).is_dir():
        found["PYTHONPATH"] = f"{unpacked}/usr/lib/python3/dist-packages"
        found["LD_LIBRARY_PATH"] = f"{unpacked}/usr/lib/x86_64-linux-gnu"
    return found


def swift_is_there() -> bool:
    command = [PYTHON, "-c", "import swift.common.middleware.s3api.s3api, swift.obj.server"]
    return (
        Path(PYTHON).exists()
        and subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0
    )


@contextmanager
def swift(work: Path, ports: list[int]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The servers; `ports` are those of account, container, object and (for clients) proxy."""
    import getpass

    (work / "devices/d1").mkdir(parents=True)
    (work / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = test\n")
    rings = [PYTHON, "-c", RINGS, work, *map(str, ports[:3])]
    subprocess.run(rings, env=environment(), check=True)
    processes = []
    try:
        for kind, port in zip(KINDS, ports, strict=True):
            form = PROXY if kind == "proxy" else STORAGE
            settings = form.format(kind=kind, port=port, work=work, user=getpass.getuser(), secret=SECRET)
            (work / f"{kind}.conf").write_text(settings)
            log = (work / f"{kind}.log").open("wb")
            command = [PYTHON, __file__, work, kind]
            processes.append(subprocess.Popen(command, env=environment(), stdout=log, stderr=log))
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def serve(work: str, kind: str) -> int:
    from swift.common import utils  # type: ignore[import-not-found]
    from swift.common.wsgi import run_wsgi  # type: ignore[import-not-found]

    utils.SWIFT_CONF_FILE = f"{work}/swift.conf"
    result = run_wsgi(f"{work}/{kind}.conf", f"{kind}-server", default_port=0, verbose=True)
    return int(result)


if __name__ == "__main__":
    sys.exit(serve(*sys.argv[1:]))
