"""The page that shows an evaluation: one file, without scripts and without a server."""
