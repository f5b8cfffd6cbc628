"""What is known of each library in whose calls a job may wait: one page a library, all of one shape (`page`).

To teach lastspan another library, copy the page that is most like it, and add it to `PAGES` in `table`.
"""
