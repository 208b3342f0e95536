"""A day of the agent on one laptop, against the stand-ins."""
