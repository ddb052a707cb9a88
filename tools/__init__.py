"""Program: the command line."""
