"""A session with a real peer: the host above the simulated NIC, on real UDP sockets."""
