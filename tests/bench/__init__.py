"""Speed and memory, measured as whole processes: numbers to quote, never tests that fail."""
