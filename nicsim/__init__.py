"""A simulated Windows NIC that does NDIS IPsec task offload, and says why."""

__version__ = "0.1.0"
