"""What a user sees, in a real browser against a live server. A package, so that its fixtures end with its last test."""
