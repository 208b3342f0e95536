"""The catalog: places, their contents, index and notes, adopting, and the owner and the lease of a place."""
