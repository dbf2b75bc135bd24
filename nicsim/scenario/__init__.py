"""Scenarios: stories of hosts, NATs and links as files, run on a virtual clock, with what must be seen in them."""
