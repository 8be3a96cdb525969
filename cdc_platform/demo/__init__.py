"""``make demo``: a small shop is captured into the lake and proven, from nothing, on this machine."""
