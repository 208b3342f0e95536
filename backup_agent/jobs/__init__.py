"""The child processes: survey, backup, copy, prune, verify and hold."""
