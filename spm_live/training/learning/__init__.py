"""Training: what to learn from, how long, how fast, and what is kept of it."""
