"""Dashboard, rules and traces of the platform, held against a real Prometheus and the data of real runs."""
