"""What networks that read a session's last items have in common: the interface, the ranker and the bundle files."""
