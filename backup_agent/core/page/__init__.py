"""What the status page shows, as values, and how it looks."""
