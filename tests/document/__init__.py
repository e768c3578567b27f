"""
VoltAgent's page "PostgreSQL Memory", block by block: its TypeScript code works in Python, in both spellings.

Each test is named after the section of its block. If the page has code, its translations in camelCase and in snake_case
are directly above the test that runs them. The section "Schema Migration" is run on VoltAgent's own databases, in
test_voltagent_databases.py.
"""
