"""The projection of runs to LangFuse and other receivers of OTLP, fed from the log, never in the way of a run."""
