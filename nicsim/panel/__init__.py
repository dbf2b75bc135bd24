"""The front panel: one NIC and one host offloader, worked by commands, with answers as plain data."""
