"""The machine folder as typed values with source positions, its lock, and what is generated from its schema.

Public names: `load` (load) gives a `Definition` (model) or raises `DefinitionError` (errors); `Lock`, `read_lock`,
`dump_lock`, `package_changes` (lock); `context_files` (context); `new_folder` (template); `json_schema` (jsonschema);
`reference_page` (reference). The keys of `ostler.toml` are described once, in `schema`.
"""
