"""Signatures on commits and summaries: who may have made what a remote serves.

Public names: `verifier_for`, `Verifier`, `Verified` (verify: what a remote's configuration demands); `sign_commit`,
`sign_summary`, `check_commit` (sign); `Signer`, `Trust`, `signer`, `trust_in_keys`, `trust_in_file`, `trust_of_system`
(kinds: ed25519, and dummy for tests); `Places` (places: where keys are looked for); `PublicKey`, `SecretKey`
(ed25519); `GpgSigner`, `GpgTrust`, `import_keys`, `list_keys` (gpg…). Signatures are where libostree has them: in
detached commit metadata and `summary.sig`.
"""
