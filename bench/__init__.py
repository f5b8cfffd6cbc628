"""Benchmarks, each run by name: `python -m bench`. What they answer and what they said is in README.md."""
