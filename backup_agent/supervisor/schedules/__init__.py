"""Cron schedules: what is due, and the timer that wakes the loop."""
