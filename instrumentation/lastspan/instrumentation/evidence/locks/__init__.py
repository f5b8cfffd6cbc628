"""What a job waits for in this process, who holds it, and who waits for whom."""
