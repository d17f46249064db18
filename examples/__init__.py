"""What to do with what Rasad publishes: programs to start from, each run by tests/kafka/test_examples.py."""
