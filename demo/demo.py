"""The whole main job on real input, through the command line alone.

Composes a Debian 13 machine, boots it, changes its folder, publishes, upgrades the running machine, reboots into the
new version, shows that local edits survived, rolls back, and shows the old version. Ends with a table of steps.

    demo.py [--firmware bios|uefi] [--work DIR] [--keep] [--json FILE] [--kernel PACKAGE]
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

OSTLER = [sys.executable, "-m", "ostler.cli"]
BOOT_SECONDS = 600
NEW_PACKAGE = "tree"


class DemoError(Exception):
    pass


def size(count: int | None) -> str:
    if count is None:
        return ""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


@dataclass
class Demo:
    """One run: where it works, and what each step took."""

    work: Path
    firmware: str
    kernel: str | None
    rows: list[dict[str, object]] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    server: subprocess.Popen[str] | None = None
    url: str = ""

    @property
    def folder(self) -> Path:
        return self.work / "web"

    def step(self, name: str) -> "Step":
        return Step(self, name)

    def ostler(self, *arguments: str, quiet: bool = False) -> str:
        """Run the command line in the machine folder and return its standard output; progress goes to the terminal."""
        print(f"$ ostler {' '.join(arguments)}", flush=True)
        cwd = self.folder if self.folder.is_dir() else self.work
        done = subprocess.run([*OSTLER, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
        if not quiet and done.stdout:
            print(done.stdout, end="", flush=True)
        if done.returncode != 0:
            raise DemoError(f"`ostler {' '.join(arguments)}` exited with {done.returncode}")
        return done.stdout

    def on_machine(self, command: str, *, timeout: float = 300, check: bool = True) -> str:
        """Run a command on the machine over ssh."""
        done = subprocess.run(
            [*OSTLER, "ssh", "-q", "--", command],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            raise DemoError(f"on the machine, `{command}` exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def show_on_machine(self, command: str) -> str:
        print(f"machine# {command}", flush=True)
        printed = self.on_machine(command)
        print(printed, end="", flush=True)
        return printed

    def boot_id(self) -> str | None:
        try:
            done = self.on_machine("cat /proc/sys/kernel/random/boot_id", timeout=30, check=False)
        except subprocess.TimeoutExpired:
            return None
        return done.strip() or None

    def wait_for_boot(self, *, other_than: str | None = None) -> str:
        """Wait until the machine answers over ssh (in another boot than the one given); returns its boot id."""
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end:
            found = self.boot_id()
            if found and found != other_than:
                return found
            print("  waiting for the machine to answer over ssh", flush=True)
            time.sleep(3)
        console = self.folder / "build" / "console.log"
        tail = console.read_text(errors="replace")[-3000:] if console.exists() else ""
        raise DemoError(f"the machine did not answer within {BOOT_SECONDS} s; the end of its console:\n{tail}")

    def booted_version(self) -> str:
        status = json.loads(self.on_machine("ostler status --json"))
        return str(status["status"]["booted"]["ostree"]["checksum"])


class Step:
    """Times a step and prints its heading."""

    def __init__(self, demo: Demo, name: str) -> None:
        self.demo, self.name = demo, name
        self.bytes: int | None = None

    def __enter__(self) -> "Step":
        print(f"\n=== {self.name}", flush=True)
        self.began = time.monotonic()
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        seconds = time.monotonic() - self.began
        self.demo.rows.append({"step": self.name, "seconds": round(seconds, 1), "bytes": self.bytes})


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise DemoError(f"expected: {what}")
    print(f"  ✓ {what}", flush=True)


def edit(path: Path, pattern: str, replacement: str) -> None:
    text = path.read_text()
    changed, count = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
    if count != 1:
        raise DemoError(f"{path} has no line like {pattern!r}")
    path.write_text(changed)


def make_folder(demo: Demo) -> None:
    with demo.step("make a machine folder"):
        demo.ostler("init", str(demo.folder))
        toml = demo.folder / "ostler.toml"
        edit(toml, r"^#? ?from = .*$", f'from = "{demo.url}"')
        if demo.kernel:
            edit(toml, r"^#? ?kernel = .*$", f'kernel = "{demo.kernel}"')
        motd = demo.folder / "overlay" / "usr" / "share" / "web" / "greeting"
        motd.parent.mkdir(parents=True)
        motd.write_text("first version\n")


def start_server(demo: Demo) -> None:
    (demo.work / "www").mkdir(exist_ok=True)
    demo.server = subprocess.Popen(
        [*OSTLER, "serve", str(demo.work / "www"), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert demo.server.stdout is not None
    line = demo.server.stdout.readline()
    found = re.search(r"http://[^:]+:(\d+)", line)
    if not found:
        raise DemoError(f"the server did not start: {line!r}")
    demo.url = f"http://10.0.2.2:{found.group(1)}"


def build_and_publish(demo: Demo, label: str) -> str:
    with demo.step(f"build {label}") as step:
        built = json.loads(demo.ostler("build", "--json", quiet=True))
        print(f"commit {built['commit']}\nimage  {built['manifest_digest']}")
        step.bytes = int(built["image_bytes"])
    with demo.step(f"publish {label}") as step:
        done = json.loads(demo.ostler("publish", "--to", str(demo.work / "www"), "--json", quiet=True))
        step.bytes = int(done["bytes"])
        print(f"{done['objects']} objects, {size(step.bytes)} written")
    return str(built["commit"])


def first_boot(demo: Demo) -> str:
    with demo.step("write the disk") as step:
        demo.ostler("disk")
        disk = demo.folder / "build" / "web.raw"
        step.bytes = disk.stat().st_blocks * 512
    with demo.step(f"boot it ({demo.firmware})"):
        demo.ostler("run", "--detach", "--persist", "--firmware", demo.firmware)
        boot = demo.wait_for_boot()
    demo.show_on_machine("ostler status")
    return boot


def change_machine(demo: Demo) -> None:
    with demo.step("edit the running machine by hand"):
        demo.show_on_machine("echo 'edited here' >> /etc/issue && echo 'made here' > /etc/local.conf")
        demo.show_on_machine("mkdir -p /var/lib/app && echo 'precious' > /var/lib/app/data")
        refused = demo.on_machine("touch /usr/hello 2>&1 || echo refused")
        expect("refused" in refused, "/usr is read-only")


def change_folder(demo: Demo) -> None:
    with demo.step("change the folder: one package, one file"):
        with (demo.folder / "packages" / "install.txt").open("a") as file:
            file.write(f"{NEW_PACKAGE}\n")
        (demo.folder / "overlay" / "usr" / "share" / "web" / "greeting").write_text("second version\n")


def upgrade(demo: Demo, boot: str, new: str) -> str:
    with demo.step("check for an upgrade on the machine"):
        demo.show_on_machine("ostler upgrade --check")
    with demo.step("upgrade the running machine") as step:
        done = json.loads(demo.on_machine("ostler upgrade --json", timeout=900))
        step.bytes = int(done["fetched"]["bytes"])
        print(f"fetched {done['fetched']['objects']} objects, {size(step.bytes)}; staged {done['checksum']}")
        demo.show_on_machine("ostler status")
        demo.facts["upgrade_bytes"] = step.bytes
    with demo.step("reboot into the new version"):
        demo.on_machine("systemctl reboot", check=False)
        boot = demo.wait_for_boot(other_than=boot)
    expect(demo.booted_version() == new, "the new version runs")
    expect("second" in demo.on_machine("cat /usr/share/web/greeting"), "the changed overlay file is there")
    expect(f"/{NEW_PACKAGE}" in demo.on_machine(f"command -v {NEW_PACKAGE}"), f"the package {NEW_PACKAGE} is there")
    expect_local_changes(demo)
    return boot


def expect_local_changes(demo: Demo) -> None:
    expect("edited here" in demo.on_machine("cat /etc/issue"), "the edit of /etc/issue survived")
    expect("made here" in demo.on_machine("cat /etc/local.conf"), "the new file in /etc survived")
    expect("precious" in demo.on_machine("cat /var/lib/app/data"), "the data in /var survived")


def roll_back(demo: Demo, boot: str, old: str) -> None:
    with demo.step("roll back"):
        demo.show_on_machine("ostler rollback")
    with demo.step("reboot into the old version"):
        demo.on_machine("systemctl reboot", check=False)
        demo.wait_for_boot(other_than=boot)
    expect(demo.booted_version() == old, "the old version runs")
    expect("first" in demo.on_machine("cat /usr/share/web/greeting"), "the old overlay file is back")
    expect(demo.on_machine(f"command -v {NEW_PACKAGE} || true").strip() == "", f"the package {NEW_PACKAGE} is gone")
    expect_local_changes(demo)
    demo.show_on_machine("ostler status")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--firmware", choices=("bios", "uefi"), default="bios")
    parser.add_argument("--work", type=Path, default=Path("build/demo"))
    parser.add_argument("--kernel", help="the kernel package (default: the machine folder's)")
    parser.add_argument("--keep", action="store_true", help="keep the folder and the disk")
    parser.add_argument("--json", type=Path, help="write steps and facts to this file")
    options = parser.parse_args()
    work = options.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.environ.setdefault("OSTLER_CACHE", str(work.parent / "cache"))
    demo = Demo(work=work, firmware=options.firmware, kernel=options.kernel)
    began = time.monotonic()
    try:
        start_server(demo)
        make_folder(demo)
        old = build_and_publish(demo, "the first version")
        boot = first_boot(demo)
        expect(demo.booted_version() == old, "the machine runs what was built")
        change_machine(demo)
        change_folder(demo)
        new = build_and_publish(demo, "the second version")
        boot = upgrade(demo, boot, new)
        roll_back(demo, boot, old)
    except DemoError as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    finally:
        if (demo.folder / "build" / "vm.json").exists():
            subprocess.run([*OSTLER, "stop", "-q"], cwd=demo.folder, check=False)
        if demo.server:
            demo.server.terminate()
            demo.server.wait()
    demo.facts["seconds"] = round(time.monotonic() - began, 1)
    if options.json:
        options.json.write_text(json.dumps({"steps": demo.rows, "facts": demo.facts}, indent=2))
    print(f"\n{'step':<44}{'seconds':>9}{'bytes':>12}")
    for row in demo.rows:
        print(f"{row['step']:<44}{row['seconds']:>9}{size(row['bytes']):>12}")  # type: ignore[arg-type]
    print(f"{'all of it':<44}{demo.facts['seconds']:>9}")
    if not options.keep:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
