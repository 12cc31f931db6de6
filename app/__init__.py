"""What people use without writing an option file: the command line and the installed package. Thin, over ``Fuser``."""
