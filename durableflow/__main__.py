"""How do I reach the command line when its script is not on the path? `python -m durableflow`."""

from durableflow.cli import main

main()
