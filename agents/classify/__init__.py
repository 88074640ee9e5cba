"""Multi-task classification: routing networks and the baselines of Rosenbaum et al. 2018."""
