"""The metric gate: current metrics compared with an accepted baseline."""
