"""One raw record -> values, or a reason why not."""
