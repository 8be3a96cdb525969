"""Lake tables in Delta."""
