"""The agent on a machine: what runs, fetching and staging newer versions, going back, and first boot.

Public names: `read_status` (status); `check`, `upgrade` (upgrade); `switch` (switch); `rollback` (rollback); `finalize`
(finalize), which ostler-finalize.service runs at shutdown; `clean_host` (cleanup); `grow_root` (grow), which
ostler-growfs.service runs. All take the root of the machine, or a `System` (system). The units lie in `units/`.
"""
