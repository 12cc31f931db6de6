"""The command line and the installed package: thin layers over ``Fuser`` that need no option file."""
