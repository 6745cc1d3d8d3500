"""The three public protocols of day-ahead prices: the papers', fev-bench's and epftoolbox's."""
