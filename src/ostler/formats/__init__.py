"""Bytes to immutable values and back, without any I/O, so that property tests and fuzzers reach all of it.

Public names: `gvariant` (`encode`, `decode`, `Variant`), `objects` (`Commit`, `DirTree`, `DirMeta`, `FileMeta`,
`ObjectType`, `Checksum`, `parse_checksum`), `filez` (the header of compressed file objects), `keyfile` (`Keyfile`),
`refs` (`validate_ref`, `split_refspec`), `tar` (`read_members`), `gpt`. Malformed input raises `FormatError`, a
`CorruptError`.
"""
