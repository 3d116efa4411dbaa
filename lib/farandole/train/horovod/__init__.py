"""All that knows Horovod."""
