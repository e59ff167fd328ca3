"""The official emulators, and what stands between them and the functions."""
