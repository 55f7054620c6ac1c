"""A candidate beside what serves: shadowed calls, compared vectors, a share of the traffic."""
