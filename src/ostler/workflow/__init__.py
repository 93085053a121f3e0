"""Thin sequences over the capabilities: a machine folder is built, becomes a disk, runs, and is published.

Public names: `build.build_machine`, `disk.write_machine_disk`, `run.machine_request`, `publish.publish_machine`,
`requirements.check_all`.
"""
