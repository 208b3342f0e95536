"""The catalog: places, their contents, indexes and notes; adoption; and the owner and lease of each place."""
