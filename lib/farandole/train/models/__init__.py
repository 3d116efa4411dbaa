"""The networks, and the layers that ranks share."""
