"""``make demo``: a small firm's three databases are captured into the lake and proven, from nothing."""
