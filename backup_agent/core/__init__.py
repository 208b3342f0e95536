"""Decisions, as pure functions from values to values.

No module here reads a clock, a file, a socket or the environment: `now` and all facts are arguments. The only libraries
are pydantic (validation) and cronsim (cron calendars); tests/test_house.py checks that.
"""
