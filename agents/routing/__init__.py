"""Routing networks (Rosenbaum et al. 2018, 2019) as policies and as multi-task classifiers."""
