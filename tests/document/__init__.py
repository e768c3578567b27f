"""
VoltAgent's page "PostgreSQL Memory", block by block: what it shows in TypeScript works here, in both spellings.

Each test is named after the section that its block stands in. Where the page has code, its twins in camelCase and
in snake_case stand right above the test that runs them. The section "Schema Migration" is run on VoltAgent's own
databases, in test_voltagent_databases.py.
"""
