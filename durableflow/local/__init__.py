"""The durable execution service on this machine: its store, its API, its timers, and who does the work."""
