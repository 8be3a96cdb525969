"""What the platform costs, measured beside what people use today, in one run on one machine."""
