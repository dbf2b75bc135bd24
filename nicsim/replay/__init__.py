"""A capture through the NIC: what it does with every frame, and why."""
