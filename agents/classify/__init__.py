"""Multi-task classification: routing networks beside the baselines of Rosenbaum et al. 2018."""
