"""The audit log as values: its lines, its segments, what they prove, and the report that is made from them."""
