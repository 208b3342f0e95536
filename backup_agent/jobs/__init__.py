"""The child processes: one backs up a database, one copies what is owed, one surveys the volume at start."""
