"""One step: what it shows, its logs, and what an operator does about it."""
