"""Records in, outcomes out: topics, the drivers that carry them, and the file driver beside them."""
