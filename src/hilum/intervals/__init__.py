"""How well things are ranked and found, and how surely that is known: every interval that hilum prints is made here."""
