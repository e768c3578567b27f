"""Upgrading the tables: the numbered files and functions of migrations_sql/, and the ledger of applied files."""
