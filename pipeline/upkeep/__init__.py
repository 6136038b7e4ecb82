"""What happens without a person: what is made again and when, and what a start does about a crash."""
