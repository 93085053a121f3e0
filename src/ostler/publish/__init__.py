"""Bringing commits to where machines fetch them: a repository in a folder, and a small server for a try at home.

Public names: `publish_folder`, `plan_publish`, `PublishPlan`, `PublishResult` (folder);
`serve`, `FolderServer`, `Request` (server).
"""
