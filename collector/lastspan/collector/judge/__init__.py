"""How a job is, why, and who is in whose way."""
