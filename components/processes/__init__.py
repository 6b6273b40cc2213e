"""Work in other processes: they can be ended, have torch ready when it is needed, and leave their parent without it."""
