"""What a verification came to, as a page that a person reads."""
