"""The comparison: the same load on BitBurst and its peers in turn, and the ratios."""
