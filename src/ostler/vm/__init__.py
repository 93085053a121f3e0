"""Virtual machines in QEMU: a disk, a console, ssh on a forwarded port of the loopback address. Needs no root.

Public names, all in `qemu`: `VmRequest` (what to run), `start` -> `Machine` (driven by a program: `wait_for`, `send`,
`ssh`, `shutdown`), `run_console` (driven by a person), `run_detached`, `ssh_command` and `stop` (in the background,
found again by the small file `vm.json`), `qemu_version` and `OLDEST_QEMU_FOR_EMULATION`.
"""
