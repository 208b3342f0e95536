"""Which artifacts are kept, until when, and which are read again next."""
