"""The call that waits: of which library, for how long at most, at which connection."""
