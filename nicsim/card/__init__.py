"""The silicon: fixed tables of rows, the receive path and the send path."""
