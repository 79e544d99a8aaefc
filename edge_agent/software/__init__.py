"""The agent's own software as a release: two slots, a trial, a probation, and the way back."""
