"""What runs in this process: job attempts, open spans, held locks, jobs of child processes."""
