"""Upgrading the tables: the numbered files and the functions of migrations_sql/, and the ledger of what is applied."""
