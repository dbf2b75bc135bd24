"""What NDIS itself does between the transport and the miniport driver."""
