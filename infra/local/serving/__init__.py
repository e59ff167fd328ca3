"""Small servers on loopback inside the running event loop."""
