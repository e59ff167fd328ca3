"""The whole system on one machine, from official emulators and small servers."""
