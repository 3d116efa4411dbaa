"""clean/ -> balanced/."""
