"""The operator's console: server-rendered pages of one environment, on loopback alone."""
