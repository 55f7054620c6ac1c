"""Where images come from: folders, lists, archives, object stores."""
