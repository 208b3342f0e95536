"""Child processes: starting, following and ending them."""
