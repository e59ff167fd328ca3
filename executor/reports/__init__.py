"""From a leased job to a stored report."""
