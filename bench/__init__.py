"""Load generators and reports: BitBurst seen from outside, over HTTP."""
