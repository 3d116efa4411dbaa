"""From stored batches to the tensors of a step."""
