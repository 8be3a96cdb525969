"""A fault injector: what people and machines do to a lake, each a small function with a sentence, and which
check finds it (``docs/proof.md``).

Invariant: the damage is done with deltalake, pyiceberg and plain files, never through the platform's own
writers, as a person with another tool, a bug or a disk would do it.
"""
