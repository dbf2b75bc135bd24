"""The reference miniport driver: handles, shadow tables, statuses."""
