"""The one package that an installation of the command line puts on the import path."""
