"""For those who run pondflight: what its workers do, and what is wrong."""
