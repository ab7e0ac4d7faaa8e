"""The Lambda functions that the example workflows invoke, as they run on this machine."""
