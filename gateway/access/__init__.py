"""Who may call, what, and how much: keys, their scopes and their limits, for every way in."""
