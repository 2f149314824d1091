"""The page and its API on one's own machine: recordings in, notes and files out."""
