"""Studies of runs: what they reached, what their agents do, how fast they learn."""
