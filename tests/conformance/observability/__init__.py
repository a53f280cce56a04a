"""What observers are shown of runs, decoded by the official protobufs and compared with what really happened."""
