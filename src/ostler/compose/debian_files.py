"""The few files that Ostler adds to a Debian base, and the names it removes or moves: data, no code.

Sources: tmpfiles.d(5), systemd.network(5), systemd.preset(5), ostree-prepare-root(1), bootc's and libostree's
documentation of the file system layout.
"""

DATABASES = {
    # State of the package tools that belongs to the image, not to the machine: it moves below /usr.
    "var/lib/dpkg": "usr/lib/sysimage/dpkg",
    "var/lib/pam": "usr/lib/sysimage/pam",
    "var/lib/ucf": "usr/lib/sysimage/ucf",
    "var/cache/debconf": "usr/lib/sysimage/debconf",
    "var/lib/systemd/deb-systemd-helper-enabled": "usr/lib/sysimage/deb-systemd-helper-enabled",
    "var/lib/systemd/deb-systemd-helper-masked": "usr/lib/sysimage/deb-systemd-helper-masked",
    "var/lib/systemd/deb-systemd-user-helper-enabled": "usr/lib/sysimage/deb-systemd-user-helper-enabled",
}
DPKG = DATABASES["var/lib/dpkg"]

TOP_LINKS = {
    # Directories that a machine may write to, and where they really lie.
    "home": "var/home",
    "opt": "var/opt",
    "srv": "var/srv",
    "mnt": "var/mnt",
    "root": "var/roothome",
    "usr/local": "../var/usrlocal",
    "media": "run/media",
    "ostree": "sysroot/ostree",
}

# Made by package scripts; each lock, backup, cache, key or name of the builder that must not get into an image.
REMOVED = (
    "etc/.pwd.lock", "etc/.resolv.conf.systemd-resolved.bak", "etc/adjtime", "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/apt.conf.d/98ostler-build", "etc/apt/sources.list", "etc/fstab", "etc/group-", "etc/gshadow-",
    "etc/hostname", "etc/mailname", "etc/passwd-", "etc/shadow-", "etc/subgid-", "etc/subuid-", "etc/.updated",
    "etc/apt/sources.list.d/0000ostler.list", "etc/initramfs-tools/conf.d/resume", "usr/lib/tmpfiles.d/home.conf",
    "initrd.img", "initrd.img.old", "vmlinuz", "vmlinuz.old", ".dockerenv", "usr/sbin/policy-rc.d",
    f"{DPKG}/lock", f"{DPKG}/lock-frontend", f"{DPKG}/triggers/Lock", f"{DPKG}/available",
)  # fmt: skip
REMOVED_SUFFIXES_IN_DATABASES = ("-old", ".0")
BACKUPS_OF_DPKG = ("status-old", "diversions-old", "statoverride-old")

# Pulled in by systemd's own links. The first two change /etc on the machine, which would keep updates of these
# files from ever arriving there; firstboot asks on the console.
UNWANTED_LINKS = (
    "usr/lib/systemd/system/sysinit.target.wants/ldconfig.service",
    "usr/lib/systemd/system/sysinit.target.wants/systemd-hwdb-update.service",
    "usr/lib/systemd/system/sysinit.target.wants/systemd-firstboot.service",
)

# Enabled by package scripts, but of no use or harmful on a machine whose /usr is an image.
NOT_ENABLED = frozenset(
    {
        "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
        "e2scrub_reap.service", "grub-common.service", "man-db.timer", "unattended-upgrades.service",
    }
)  # fmt: skip

ENABLED_LINKS = {
    # A network, name resolution and the time without anyone's doing (the latter two are enabled by their packages).
    "multi-user.target.wants/systemd-networkd.service": "../systemd-networkd.service",
    "sockets.target.wants/systemd-networkd.socket": "../systemd-networkd.socket",
    "dbus-org.freedesktop.network1.service": "systemd-networkd.service",
    "network-online.target.wants/systemd-networkd-wait-online.service": "../systemd-networkd-wait-online.service",
    "default.target": "multi-user.target",
}

WRITTEN: dict[str, str] = {
    "usr/lib/systemd/network/80-ostler-dhcp.network": (
        "# Every ordinary interface gets its address by DHCP. A file in /etc/systemd/network that sorts before this\n"
        "# one and matches an interface takes it over.\n"
        "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"
    ),
    "usr/lib/systemd/system/systemd-networkd-wait-online.service.d/20-ostler.conf": (
        "# One working interface is enough, and a machine without a cable comes up soon all the same.\n"
        "[Service]\nExecStart=\nExecStart=/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=30\n"
    ),
    "usr/lib/systemd/system.conf.d/20-ostler.conf": (
        "# A machine that hangs restarts by itself (where it has a watchdog), which boot counting notices.\n"
        "[Manager]\nRuntimeWatchdogSec=60s\nRebootWatchdogSec=5min\n"
    ),
    "usr/lib/systemd/system/systemd-sysusers.service.d/20-ostler.conf": (
        "# Accounts that an update brings are made also when /etc/passwd was changed on this machine.\n"
        "[Unit]\nConditionNeedsUpdate=\n"
    ),
    "usr/lib/ostree/prepare-root.conf": "[sysroot]\nreadonly=true\n",
    "usr/lib/dracut/dracut.conf.d/50-ostler.conf": (
        "# The initramfs is part of the image and must boot on any machine.\n"
        'hostonly="no"\nhostonly_cmdline="no"\nreproducible="yes"\ncompress="zstd"\nadd_dracutmodules+=" ostree "\n'
        'systemdsystemunitdir="/usr/lib/systemd/system"\nsystemdsystemconfdir="/etc/systemd/system"\n'
    ),
    "usr/lib/tmpfiles.d/00-ostler.conf": "".join(
        line + "\n"
        for line in (
            "# Where / points into /var; these exist before anything else looks for them.",
            "d /var/home 0755 root root - -",
            "d /var/opt 0755 root root - -",
            "d /var/srv 0755 root root - -",
            "d /var/mnt 0755 root root - -",
            "d /var/roothome 0700 root root - -",
            "d /var/usrlocal 0755 root root - -",
            "d /run/media 0755 root root - -",
            "# The package database is part of the image.",
            *(f"L+ /{path} - - - - {'../' * path.count('/')}{target}" for path, target in [("var/lib/dpkg", DPKG)]),
        )
    ),
    "etc/default/grub": (
        "# Ostler writes GRUB's configuration itself; this is for `ostree admin`, which has grub-mkconfig do it.\n"
        "GRUB_DEFAULT=0\nGRUB_TIMEOUT=2\nGRUB_DISTRIBUTOR=Debian\nGRUB_DISABLE_OS_PROBER=true\n"
        'GRUB_TERMINAL="serial console"\nGRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"\n'
    ),
    "etc/machine-id": "uninitialized\n",
    "etc/locale.conf": "LANG=C.UTF-8\n",
}

# Last of all, in the files layer: Debian's package scripts heed presets, and would enable nothing.
PRESETS: dict[str, str] = {
    "usr/lib/systemd/system-preset/00-ostler.preset": (
        "# What is enabled is a link in /usr/lib/systemd/system, so that it updates with the image.\n"
        "# Nothing is enabled in /etc at the first boot; links there would hide later changes.\n"
        "disable *\n"
    ),
    "usr/lib/systemd/user-preset/00-ostler.preset": "disable *\n",
}

GENERATED_TMPFILES = "usr/lib/tmpfiles.d/ostler-var.conf"
GENERATED_SYSUSERS = "usr/lib/sysusers.d/00-ostler.conf"
FACTORY = "usr/share/factory"

# Stays in the image's /var, so that `RUN apt-get install` works in a Containerfile: (path, mode).
KEPT_VAR = (
    ("var", 0o755), ("var/cache", 0o755), ("var/cache/apt", 0o755), ("var/cache/apt/archives", 0o755),
    ("var/cache/apt/archives/partial", 0o700), ("var/lib", 0o755), ("var/lib/apt", 0o755),
    ("var/lib/apt/lists", 0o755), ("var/lib/apt/lists/partial", 0o700), ("var/lib/apt/mirrors", 0o755),
    ("var/lib/apt/periodic", 0o755), ("var/lib/systemd", 0o755), ("var/log", 0o755), ("var/log/apt", 0o755),
    ("var/tmp", 0o1777), ("var/home", 0o755), ("var/opt", 0o755), ("var/srv", 0o755), ("var/mnt", 0o755),
    ("var/roothome", 0o700), ("var/usrlocal", 0o755),
)  # fmt: skip
KEPT_VAR_LINKS = {"var/run": "../run", "var/lock": "../run/lock"}
EMPTIED = ("boot", "dev", "proc", "sys", "run", "tmp")
