"""Requests and their answers, the queue, schedules, and the tasks of child processes."""
