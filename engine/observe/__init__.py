"""What a cluster shows of itself: `history` (every transition, `Client.story`), `metrics` (Prometheus), `account` (what
a compute cost), `status` (the HTTP port). It reads the scheduler's books and never changes them.
"""
