"""The API's answers in words: what `lastspan` prints and pages show too. Knows JSON and nothing of the collector."""
