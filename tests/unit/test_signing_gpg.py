"""What GnuPG's programs say, understood."""

import time

import pytest

from ostler.store.signing.gpg_listing import parse_keys, zbase32
from ostler.store.signing.gpg_status import GpgSignature, parse_status

FINGERPRINT = "F1F38B2F90F0612E8258D5B2E8B35B6C9A51B00B"
SUBKEY = "47559761926947F88526A06D1EBF7CA8DDCE79D1"
VALID = f"VALIDSIG {FINGERPRINT} 2015-03-19 1426781828 0 4 0 1 2 00 {FINGERPRINT}"
LISTING = f"""\
tru::1:1795272468:0:3:1:5
pub:-:2048:1:E8B35B6C9A51B00B:1425911180:::-:::scESC::::::23::0:
fpr:::::::::{FINGERPRINT}:
uid:-::::1425911180::21CF::J. Random User (a key\\x3a valid) <Joe.Doe@Example.ORG>::::::::::0:
uid:r::::1425911180::21CF::only a name::::::::::0:
sub:e:2048:1:1EBF7CA8DDCE79D1:1425911180:1426782201:::::e::::::23:
fpr:::::::::{SUBKEY}:
"""


@pytest.fixture(autouse=True)
def universal_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    ("said", "verdict", "flag"),
    [
        (["GOODSIG E8B35B6C9A51B00B A User <a@b.c>", VALID], 'Good signature from "A User <a@b.c>"', "valid"),
        (["GOODSIG E8B35B6C9A51B00B A User <a@b.c>"], 'BAD signature from "A User <a@b.c>"', ""),
        (["BADSIG E8B35B6C9A51B00B A User <a@b.c>"], 'BAD signature from "A User <a@b.c>"', ""),
        (["EXPSIG E8B35B6C9A51B00B A User", VALID], 'Expired signature from "A User <>"', "signature_expired"),
        (["KEYEXPIRED 1426782201", "EXPKEYSIG E8B3 A User", VALID], 'BAD signature from "A User <>"', "key_expired"),
        (["REVKEYSIG E8B35B6C9A51B00B A User", VALID], "Key revoked", "key_revoked"),
        (
            ["ERRSIG E769699B8E7E729C 1 2 00 1426782907 9 -"],
            "Can't check signature: public key not found",
            "key_missing",
        ),
        (
            ["ERRSIG E769699B8E7E729C 1 2 00 1426782907 4 -"],
            'BAD signature from "[unknown name] <[unknown email]>"',
            "",
        ),
    ],
)
def test_a_verdict_is_described_in_libostrees_words(said: list[str], verdict: str, flag: str) -> None:
    (found,) = parse_status("".join(f"[GNUPG:] {line}\n" for line in ["NEWSIG", *said]))
    assert found.describe("  ").splitlines()[1] == f"  {verdict}"
    names = ("valid", "signature_expired", "key_expired", "key_revoked", "key_missing")
    assert [name for name in names if getattr(found, name)] == [flag] * bool(flag)


def test_other_lines_say_nothing_of_signatures() -> None:
    assert parse_status("GOODSIG not by status\n[GNUPG:] NODATA 1\n[GNUPG:]\n[GNUPG:] GOODSIG\n\n") == ()


def test_a_listing_tells_more_of_the_key() -> None:
    keys = parse_keys(LISTING)
    found = GpgSignature(SUBKEY, key_expired=True, made=1426781828, algorithm="RSA").with_key(keys)
    assert found.describe() == (
        "Signature made Thu Mar 19 16:17:08 2015 using RSA key ID 1EBF7CA8DDCE79D1\n"
        'BAD signature from "J. Random User <Joe.Doe@Example.ORG>"\n'
        "Primary key ID E8B35B6C9A51B00B\n"
        "Key expired Thu Mar 19 16:23:21 2015\n"
    )


def test_keys_are_described_in_libostrees_words() -> None:
    (key,) = parse_keys(LISTING)
    assert key.describe() == (
        f"Key: {FINGERPRINT}\n"
        "  Created: Mon Mar  9 14:26:20 2015\n"
        "  UID: J. Random User (a key: valid) <Joe.Doe@Example.ORG>\n"
        "  Advanced update URL: https://openpgpkey.Example.ORG/.well-known/openpgpkey/example.org/hu/"
        "iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe\n"
        "  Direct update URL: https://Example.ORG/.well-known/openpgpkey/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe\n"
        "  UID: only a name (revoked)\n"
        "  Advanced update URL: \n"
        "  Direct update URL: \n"
        f"  Subkey: {SUBKEY}\n"
        "    Created: Mon Mar  9 14:26:20 2015\n"
        "    Expired: Thu Mar 19 16:23:21 2015\n"
    )


def test_names_of_web_key_directories_are_in_their_own_base_32() -> None:
    assert zbase32(b"") == ""
    assert zbase32(bytes.fromhex("f0bfc7")) == "6n9hq"
    assert zbase32(bytes.fromhex("d47a04")) == "4t7ye"
