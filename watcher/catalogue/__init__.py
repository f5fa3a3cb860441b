"""The catalogue: every task of the journal as a row in SQL, to be found and counted.

It is a fold of the events, and can be dropped and built again: the journal is the truth. Whoever
uses it needs :mod:`.catalogue` only.
"""
