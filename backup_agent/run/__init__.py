"""One run: the child process that backs up one database, and the one that copies what is owed."""
