"""Connect a namespace to the host and take it off again, all or nothing."""
