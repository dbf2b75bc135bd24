"""`python -m nicsim`."""

from nicsim.cli import main

main()
