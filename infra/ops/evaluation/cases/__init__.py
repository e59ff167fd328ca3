"""Cases: past steps with all that they were made from, pinned and proved."""
