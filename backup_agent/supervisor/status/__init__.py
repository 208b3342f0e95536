"""What the supervisor shows: status, counters, metrics, log lines, HTTP."""
