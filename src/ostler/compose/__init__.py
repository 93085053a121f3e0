"""From a definition and its lock to layers in the store: base, packages, Containerfile, agent, files, initramfs.

Public names: `Cache` (cache), `plan_build`, `BuildPlan` (plan), `build`, `BuildResult`, `Layer`, `StepOutcome` (build),
`update_lock` (resolve), `PackageError` (apt). Callers are id 0, on a host or in a user namespace.
"""
