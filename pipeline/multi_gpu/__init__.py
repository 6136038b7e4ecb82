"""Training on several GPUs of one machine: starting the ranks, and what one rank runs."""
