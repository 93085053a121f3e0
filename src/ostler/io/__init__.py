"""The edges to the operating system: files, processes, user namespaces, HTTP, and progress events.

Public names: `atomic_write`, `fsync_directory`, `safe_join` (files); `run`, `CommandError`, `require_tool` (process);
`enter_user_namespace` (userns); `Fetcher`, `HttpFetcher` (http); `Progress`, `Reporter`, `silent` (progress).
Nothing here prints or reads the environment.
"""
