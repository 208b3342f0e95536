"""Decide, from what the doctor sees, whether the agent can work as its settings say."""
