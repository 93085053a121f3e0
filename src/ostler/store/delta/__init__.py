"""Static deltas of a repository: making, applying, listing, checking and indexing them.

`generate.generate` makes one, `apply.apply_part` and `offline.apply_offline` use one, `listing` finds and describes
those that there are, `index.reindex` lists them for clients.
"""
