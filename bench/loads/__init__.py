"""Load generators: what they send, how they keep their schedule, what they count."""
