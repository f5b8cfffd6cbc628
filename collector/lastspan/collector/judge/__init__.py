"""Judges jobs: their state, the cause, and which job blocks which."""
