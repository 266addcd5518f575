"""The mix: how many tokens each phase takes of each source, which documents these are, and in what order.

weights (shares of a phase) → plan (stretches of each source's seeded order) → ranked (that order, on disk) →
select (a phase's rows in their final order). The shards are written from that.
"""
