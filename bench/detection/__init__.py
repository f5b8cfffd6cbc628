"""How well hangs are found: a simulated fleet, the real collector, three baselines."""
