"""The datastore: keys and values, revisions, watches; SQLite or memory."""
