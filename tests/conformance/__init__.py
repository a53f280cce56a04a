"""Suites that talk to real outside servers; `.ci/run` calls them by name."""
