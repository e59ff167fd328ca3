"""What Google's services do around the functions: events as sent, calls on schedule."""
