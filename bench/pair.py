"""Two versions of a part of Debian, from the archives this machine uses: what security updates change.

    python bench/pair.py FOLDER       makes FOLDER/old and FOLDER/new; needs apt, dpkg-deb and a network

The packages are those of a small server that had updates within the release; of the kernel only file systems, network,
cryptography and the image itself are kept.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = """
bash base-files apt dpkg libapt-pkg6.0 curl libcurl4 openssl libssl3 libglib2.0-0 libgnutls30 libgssapi-krb5-2
libkrb5-3 libpam0g libpam-modules perl-base libperl5.36 libpython3.11-minimal libpython3.11-stdlib python3.11-minimal
systemd libsystemd-shared libsystemd0 libudev1 libxml2 libgcrypt20 libexpat1 e2fsprogs libext2fs2 sed tzdata
ca-certificates
"""
KEPT_MODULES = ("kernel/fs", "kernel/net", "kernel/crypto", "kernel/lib")


def apt(*words: str) -> str:
    return subprocess.run(["apt-cache", *words], check=True, capture_output=True, text=True).stdout


def versions(package: str) -> list[str]:
    """The versions that the archives have, newest first."""
    found = [line.split("|")[1].strip() for line in apt("madison", package).splitlines() if "Packages" in line]
    return list(dict.fromkeys(found))


def kernels() -> tuple[str, str]:
    """The two newest kernel packages."""
    names = re.findall(
        r"^(linux-image-[0-9.]+-(\d+)-amd64) ", apt("search", "--names-only", "^linux-image-.*-amd64$"), re.M
    )
    ordered = [name for name, number in sorted(names, key=lambda found: int(found[1]))]
    return ordered[-2], ordered[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    if (folder / "complete").exists():
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    chosen: dict[str, list[str]] = {"old": [], "new": []}
    for package in NAMES.split():
        there = [version for version in versions(package) if "~bpo" not in version]
        if len(there) > 1:
            chosen["new"].append(f"{package}={there[0]}")
            chosen["old"].append(f"{package}={there[-1]}")
    chosen["old"].append(kernels()[0])
    chosen["new"].append(kernels()[1])
    for name, packages in chosen.items():
        debs = folder / f"{name}.debs"
        debs.mkdir(parents=True)
        options = ["-o", "APT::Sandbox::User="]
        subprocess.run(
            ["apt-get", "download", "-q", *options, *packages], cwd=debs, check=True, stdout=subprocess.DEVNULL
        )
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", deb, folder / name], check=True)
        for module in (folder / name).rglob("*.ko*"):
            if not any(kept in str(module) for kept in KEPT_MODULES):
                module.unlink()
        shutil.rmtree(debs)
    (folder / "complete").touch()
    print(f"{len(chosen['new'])} packages in two versions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
