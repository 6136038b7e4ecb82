"""Training on several GPUs of one machine: start the ranks, and run one rank."""
