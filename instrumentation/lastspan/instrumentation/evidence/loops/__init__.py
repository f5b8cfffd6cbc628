"""Event loops and hubs: how far behind they are."""
