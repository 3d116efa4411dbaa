"""Starting one process per rank from a barrier stage, and watching them."""
