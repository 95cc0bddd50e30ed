"""Notifications from a `poll://` channel, for who can't be reached from the internet."""
