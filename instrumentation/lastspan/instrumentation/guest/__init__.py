"""Manners in somebody else's process: its log, its exits, its secrets, its interpreter lock."""
