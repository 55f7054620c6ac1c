"""What fills an index: sources become rows, what is new or changed is embedded, what is gone is dropped."""
