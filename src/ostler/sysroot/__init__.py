"""Deployments on a physical root, laid out as libostree does, so that either system can take over from the other.

Public names: `Sysroot`, `SysrootState` (layout) read a root; `Deployment` (deployment) is one version on it;
`plan_deploy`, `check_out`, `deploy` (deploy) make new ones; `plan_boot`, `write_boot` (write) commit a list of them by
one rename; `plan_etc_merge` (etc_merge) carries local changes over; `install_first` (install) writes the first
deployment of a new disk offline; `clean_up` (cleanup) removes what no entry names.
"""
