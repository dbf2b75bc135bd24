"""IKEv1 with NAT traversal, without I/O: datagrams, time and randomness go in, datagrams and events come out."""
