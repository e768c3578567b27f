"""Tests of the adapter for the notebooks of Pydantic AI's harness."""
