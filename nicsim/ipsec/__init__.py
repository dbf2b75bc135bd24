"""Opening and sealing ESP, shared by the card and the host."""
