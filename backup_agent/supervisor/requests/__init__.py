"""The requests folder: dropped files, answers, the reserve, and the watch."""
