"""The path between two hosts, on a virtual clock: links, routers and NATs."""
