"""Disks that boot, made from a commit without privileges: no loop device, no mount, no chroot.

Public names: `DiskRequest`, `DiskIdentity`, `DiskPlan`, `plan_disk` (plan) say what a disk will hold, and `make_disk`
(make) writes it, as a raw file or as qcow2 (convert). The partition table is our own few lines (formats.gpt), the ext4
file systems come from `mke2fs -d` straight into their place in the file (ext4), the ESP from mtools (esp), the boot
sectors from the GRUB images that the operating system image carries (bootcode).
"""
