"""Child processes: starting, following and ending them, and their reports."""
