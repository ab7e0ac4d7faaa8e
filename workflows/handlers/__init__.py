"""The handlers of the example workflows' steps: plain functions that the interpreter calls itself."""
