"""What fast cells are made of: lanes and their products, and how kernels are run."""
