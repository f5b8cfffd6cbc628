"""What the watcher's thread reports: spans that stay open, where they stopped, heartbeats, durations."""
