"""What an operator, a schedule or a run asks for, one module each: check a table, bring it forward, mend it.

Each takes the settings and a declared source, puts the pieces together (``platform``), and knows nothing of
Dagster or of the shell, which both call it.
"""
