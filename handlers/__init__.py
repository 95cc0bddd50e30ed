"""What each notification means, and what is true after it: pure functions, no I/O, no clock, no randomness."""
