"""Programs that are kept at work together: each on a leash, asked for its health, started again when it dies.

    programs    what a program is, and what became of it
    leash       a small process between us and a program: when we are gone, all that the program started ends
    keeping     one program for as long as it is wanted

Neither supervisord nor circus, which BentoML brings along, asks a program for its health or ends what it started when
they are killed themselves; a system service manager is not on every machine.
"""
