"""Deciding: functions from values to values.

Nothing here reads a clock, a file, a socket or the environment: `now` and all facts are passed in. Only pydantic
(values that check themselves) and cronsim (calendar arithmetic) may be imported; `make check` holds that.
"""
