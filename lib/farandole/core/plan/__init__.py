"""Who gets what: pure functions of integers."""
