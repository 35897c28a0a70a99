"""The edges: HTTP, settings, the `bitburst` command, and the wiring of the parts."""
