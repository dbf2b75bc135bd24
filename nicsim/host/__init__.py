"""The transport above the NIC: what to offload, software IPsec, the replay window."""
