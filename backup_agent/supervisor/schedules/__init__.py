"""Cron schedules: the runs that are due, and the timer that wakes the loop."""
