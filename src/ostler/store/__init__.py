"""The OSTree repository: objects, refs, trees, layers; into it from folders and tars, out of it as checkouts.

Public names: `Repo`, `RepoMode`, `Remote` (repo); `Transaction` (transaction, from `Repo.transaction()`); `Directory`,
`load_tree`, `load_commit_tree`, `write_tree` (tree); `commit_tree` (commit); `apply_layer`, `merge_layers`,
`diff_layers`, `bootable_tree` (layers); `ingest_directory`, `ingest_tar`, `inode_index` (ingest); `checkout`,
`Checkout` (checkout); `log`, `list_files`, `cat` (inspect); `diff`, `fsck`, `prune`, `copy_objects`, `pull`,
`write_summary` in modules of these names. Byte-compatible with libostree, whose locks and staging it shares.
"""
