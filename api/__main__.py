"""`python -m api` is the `bitburst` command."""

from api.command_line import main

main()
