"""Self-contained HTML reports: the page and one figure kind a file."""
