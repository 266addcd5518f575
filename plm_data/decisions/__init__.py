"""Decisions: thresholds over attributes, one survivor a duplicate cluster, all told in a ledger.

Nothing here reads a text: a changed threshold re-decides from the columns alone.
"""
