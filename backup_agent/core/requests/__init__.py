"""Requests, their answers, the queue, schedules, and the tasks of the child processes."""
