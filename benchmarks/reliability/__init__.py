"""Real kills, random conditions and threads: what must be there afterwards is compared with what is."""
