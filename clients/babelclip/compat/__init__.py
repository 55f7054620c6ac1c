"""The names of other libraries on babelclip's clients, for programs that were written with them."""
