"""A few synsets as WordNet's data.noun has them, below the first line of its licence."""

NOUNS = """  1 This software and database is being provided to you
00000010 03 n 01 animal 0 000 | a living organism
00000020 05 n 02 dog 0 domestic_dog 0 003 @ 00000010 n 0000 ~ 00000030 n 0000 + 00000099 v 0101 | a member of
00000030 05 n 02 pug 0 pug-dog 0 002 @ 00000020 n 0000 @ 00000040 n 0000 | small compact breed; "a pug"
00000040 05 n 01 toy 0 001 @ 00000010 n 0000 | any of several breeds
00000050 06 n 01 toy 0 000 | an artifact designed to be played with
"""

INDEX = """  1 This software and database is being provided to you
animal n 1 1 ~ 1 1 00000010
dog n 1 2 @ ~ 1 1 00000020
domestic_dog n 1 2 @ ~ 1 0 00000020
pug n 1 1 @ 1 0 00000030
toy n 3 2 @ ~ 3 2 00000050 00000077 00000040
"""
