"""What each model's provider takes of calls, and who waits for it."""
