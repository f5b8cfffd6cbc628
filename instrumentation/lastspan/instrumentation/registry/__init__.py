"""What runs here, as it is known on the job's thread: runs, open spans, locks held, jobs of child processes."""
