"""
A soak test: mixed load in several processes, with faults, and a search for what was lost.

    __main__    the options, the table
    load        one client: a process that calls verbs, and records each write outside of the database
    ledger      the comparison of the records with the database
    servers     a primary, a standby, a pooler; starting, killing, failing over
    faults      what goes wrong, and how often
"""
