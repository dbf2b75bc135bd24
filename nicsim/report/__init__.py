"""Results as text and JSON. The only user of rich."""
