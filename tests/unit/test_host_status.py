"""What `ostler status` shows."""

import subprocess
import sys
from pathlib import Path

import pytest
from sysroot_samples import Machine, add_os

from ostler.host.finalize import finalize
from ostler.host.status import DeploymentStatus, HostStatus, read_status
from ostler.host.upgrade import upgrade
from ostler.sysroot import write as write_module


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(write_module, "_make_durable", lambda sysroot: None)
    return Machine(tmp_path)


def test_json_has_the_form_of_bootc(machine: Machine) -> None:
    add_os(machine.remote, "2.0")
    upgrade(machine.system, start_unit=machine.start_unit)
    found = read_status(machine.system).to_json()
    assert found["apiVersion"] == "org.containers.bootc/v1"
    assert found["kind"] == "BootcHost"
    assert found["spec"] == {"image": None, "bootOrder": "default"}
    status = found["status"]
    assert set(status) >= {"staged", "booted", "rollback", "rollbackQueued", "otherDeployments", "type"}
    assert status["booted"]["ostree"] == {
        "stateroot": "web",
        "checksum": machine.first.checksum,
        "deploySerial": 0,
        "version": "1.0",
        "timestamp": "2023-11-14T22:13:20Z",
        "origin": "ostler:web/stable",
    }
    assert status["staged"]["ostree"]["version"] == "2.0"
    assert status["rollback"] is None


def test_text_names_each_version_by_its_part(machine: Machine) -> None:
    add_os(machine.remote, "2.0")
    upgrade(machine.system, start_unit=machine.start_unit)
    assert read_status(machine.system).to_text().splitlines()[::5] == ["Staged: 2.0", "Booted: 1.0"]
    finalize(machine.system)
    machine.reboot()
    text = read_status(machine.system).to_text()
    assert "Booted: 2.0" in text
    assert "Rollback: 1.0" in text
    assert "2023-11-14 22:13:20 UTC" in text


def test_an_image_origin_is_shown_as_bootc_shows_it() -> None:
    def shown(reference: str) -> object:
        status = DeploymentStatus("web", "a" * 64, 0, None, "1", 0, False, image=reference)
        return HostStatus(booted=status).to_json()["spec"]["image"]

    assert shown("ostree-unverified-registry:quay.io/a/b:1") == {
        "image": "quay.io/a/b:1",
        "transport": "registry",
        "signature": "insecure",
    }
    assert shown("ostree-image-signed:docker://quay.io/a/b") == {
        "image": "quay.io/a/b",
        "transport": "docker",
        "signature": "containerPolicy",
    }
    assert shown("ostree-remote-image:fedora:oci:/path") == {
        "image": "/path",
        "transport": "oci",
        "signature": {"ostreeRemote": "fedora"},
    }


def test_status_imports_nothing_that_only_other_commands_need() -> None:
    code = "import sys, ostler.host.status; print('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "http.client",
        "ssl",
        "subprocess",
        "tempfile",
        "tomllib",
        "urllib.request",
        "concurrent.futures",
        "socket",
    }
    assert not heavy & set(found)
