"""Users, faults and time: what is left at the end, and whether anybody saw what is another's."""
