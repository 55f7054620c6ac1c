"""What a tower has no time for is refused at once; what waits has its turn, fair between keys."""
