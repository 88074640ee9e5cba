"""What may befall a run: kills, signals, full disks, damaged files, and input that is no input."""
