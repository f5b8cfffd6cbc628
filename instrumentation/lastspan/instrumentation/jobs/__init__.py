"""The frameworks that run jobs: one module each."""
