"""Arabic text with exact offsets: pure functions from strings to strings and spans."""
