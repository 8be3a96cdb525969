"""Lake tables: rows and the offsets they came from, committed together.

``memory`` is the specification; ``delta`` stores the same on disk. Both are held to one contract suite.
"""
