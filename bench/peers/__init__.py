"""What BitBurst is compared with, and BitBurst itself, each started and ended by the bench."""
