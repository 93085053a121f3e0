"""A machine whose image has keys takes only versions that they have signed."""

from pathlib import Path

import pytest
from signing_samples import put
from sysroot_samples import Machine, add_os

from ostler.formats.objects import Checksum, ObjectType
from ostler.host.finalize import finalize
from ostler.host.upgrade import check, upgrade
from ostler.store.signing.ed25519 import SecretKey
from ostler.store.signing.errors import SignatureError
from ostler.store.signing.sign import sign_commit
from ostler.sysroot import write as write_module
from ostler.sysroot.install import REMOTE, REVOKED_UPDATE_KEYS, UPDATE_KEYS

KEY, NEXT = SecretKey.generate(), SecretKey.generate()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_module, "_make_durable", lambda sysroot: None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    put(made.root / UPDATE_KEYS, f"{KEY.public}\n")
    return made


def published(machine: Machine, version: str, *signers: SecretKey) -> Checksum:
    commit = add_os(machine.remote, version)
    sign_commit(machine.remote, commit, signers)
    return commit


def install(machine: Machine) -> str | None:
    version = upgrade(machine.system, start_unit=machine.start_unit).version
    finalize(machine.system)
    machine.reboot()
    return version


def test_unsigned_versions_are_refused_and_leave_nothing(machine: Machine) -> None:
    commit = published(machine, "2.0")
    with pytest.raises(SignatureError, match="Can't verify commit") as raised:
        install(machine)
    assert raised.value.hint
    assert machine.started == 0
    assert not machine.sysroot.repo.has(commit, ObjectType.COMMIT)
    with pytest.raises(SignatureError):
        check(machine.system)


def test_signed_versions_are_installed(machine: Machine) -> None:
    published(machine, "2.0", KEY)
    assert install(machine) == "2.0"
    assert machine.sysroot.repo.remotes()[REMOTE].options["sign-verify"] == "true"


def test_a_key_is_rotated_by_an_image_that_both_keys_have_signed(machine: Machine) -> None:
    published(machine, "2.0", NEXT)
    with pytest.raises(SignatureError, match="couldn't be verified with"):
        install(machine)
    published(machine, "2.1", KEY, NEXT)
    assert install(machine) == "2.1"
    put(machine.root / UPDATE_KEYS, f"{KEY.public}\n{NEXT.public}\n")  # what the new image has
    put(machine.root / REVOKED_UPDATE_KEYS, f"{KEY.public}\n")
    published(machine, "3.0", KEY)
    with pytest.raises(SignatureError):
        install(machine)
    published(machine, "3.1", NEXT)
    assert install(machine) == "3.1"


def test_what_a_person_trusts_or_revokes_on_the_machine_counts(machine: Machine) -> None:
    published(machine, "2.0", NEXT)
    put(machine.root / "etc/ostree/trusted.ed25519", f"{NEXT.public}\n")
    assert install(machine) == "2.0"
    put(machine.root / "etc/ostree/revoked.ed25519", f"{KEY.public}\n")
    published(machine, "3.0", KEY)
    with pytest.raises(SignatureError):
        install(machine)
