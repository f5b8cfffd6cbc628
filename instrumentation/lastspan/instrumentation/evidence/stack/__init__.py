"""The stack of a job: frames, tasks, source lines, and whose code they are."""
