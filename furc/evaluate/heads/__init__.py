"""What detection networks end in: a file for each kind of head."""
