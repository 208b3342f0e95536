"""The child processes: survey, backup, copy, prune and verify."""
