"""The client libraries that are wrapped, and only those: locks in Redis, in files, sessions of databases."""
