"""A real machine: boots, updates, goes back; on BIOS and UEFI, and after `ostree admin` has written our sysroot."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "demo"))
import demo as scenario  # noqa: E402

KERNEL = "linux-image-cloud-amd64"
pytestmark = pytest.mark.boot


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "work"


@pytest.fixture(scope="module")
def report(work: Path, cache: Path) -> dict[str, object]:
    """The whole scenario of `make demo` on BIOS; its folder and disk are kept for the tests below."""
    out = work.parent / "report.json"
    subprocess.run(
        [sys.executable, ROOT / "demo" / "demo.py", "--work", work, "--keep", "--json", out, "--kernel", KERNEL],
        env={**os.environ, "OSTLER_CACHE": str(cache)},
        check=True,
        timeout=2400,
    )
    found: dict[str, object] = json.loads(out.read_text())
    return found


@pytest.fixture
def machine(report: dict[str, object], work: Path, cache: Path) -> Iterator[scenario.Demo]:
    """The scenario's folder, whose disk a test may start; what the test started is ended."""
    os.environ["OSTLER_CACHE"] = str(cache)
    demo = scenario.Demo(work=work, firmware="bios", kernel=KERNEL)
    yield demo
    if (demo.folder / "build" / "vm.json").exists():
        demo.ostler("stop")


def test_a_bios_machine_upgrades_and_rolls_back_and_keeps_local_changes(report: dict[str, object]) -> None:
    steps = [row["step"] for row in report["steps"]]  # type: ignore[attr-defined]
    assert "roll back" in steps
    assert 0 < report["facts"]["upgrade_bytes"] < 20_000_000  # type: ignore[index]


def test_the_same_disk_boots_on_uefi_and_throws_changes_away(machine: scenario.Demo) -> None:
    machine.ostler("run", "--detach", "--firmware", "uefi")
    machine.wait_for_boot()
    assert "ok" in machine.on_machine("test -d /sys/firmware/efi && echo ok")
    machine.on_machine("touch /var/left-behind && sync")
    machine.ostler("stop")
    machine.ostler("run", "--detach", "--firmware", "uefi")
    machine.wait_for_boot()
    assert "gone" in machine.on_machine("test -e /var/left-behind || echo gone")


def test_a_machine_is_in_good_order_after_boot(machine: scenario.Demo) -> None:
    machine.ostler("run", "--detach")
    machine.wait_for_boot()
    machine.on_machine("systemctl is-system-running --wait", timeout=300, check=False)
    assert machine.on_machine("systemctl --failed --plain --no-legend").strip() == ""
    assert machine.on_machine("findmnt -no OPTIONS /usr || findmnt -no OPTIONS /").split(",")[0] == "ro"
    root_bytes = int(machine.on_machine("findmnt -bno SIZE /sysroot"))
    disk_bytes = (machine.folder / "build" / "web.raw").stat().st_size
    assert root_bytes > 0.5 * disk_bytes
    unread = machine.on_machine("runuser -u nobody -- ostler status")
    assert "booted" in unread.lower()


def test_a_boot_after_ostree_admin_deploy_has_written_the_sysroot(machine: scenario.Demo) -> None:
    machine.ostler("run", "--detach")
    boot = machine.wait_for_boot()
    assert "web" in machine.on_machine("ostree admin status")
    before = machine.booted_version()
    other = machine.on_machine(
        "ostree admin status | grep -o '[0-9a-f]\\{64\\}' | sort -u | grep -v " + before + " | head -1"
    ).strip()
    assert other, "the machine has two versions"
    machine.on_machine(f"ostree admin deploy --os=web {other} 2>&1", timeout=600)
    machine.on_machine("systemctl reboot", check=False)
    machine.wait_for_boot(other_than=boot)
    assert machine.booted_version() == other
    status = json.loads(machine.on_machine("ostler status --json"))
    assert status["status"]["rollback"]["ostree"]["checksum"] == before


def test_the_root_grows_to_a_larger_disk(machine: scenario.Demo) -> None:
    disk = machine.folder / "build" / "web.raw"
    larger = machine.folder / "build" / "larger.raw"
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", disk, larger], check=True)
    os.truncate(larger, disk.stat().st_size + 3_000_000_000)
    machine.ostler("run", "--detach", str(larger))
    machine.wait_for_boot()
    machine.on_machine("systemctl is-system-running --wait", timeout=300, check=False)
    assert int(machine.on_machine("findmnt -bno SIZE /sysroot")) > 3_000_000_000
    larger.unlink()
